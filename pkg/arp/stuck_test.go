package arp

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"testing"

	"github.com/vipd-io/vipd/internal/nstest"
	"github.com/vipd-io/vipd/pkg/announce"
)

// TestStuckInterface: the queue of an interface stands still, here the queue of a traffic shaper.
// Once the buffer of the socket is full, an announcement fails, and no call waits for room.
func TestStuckInterface(t *testing.T) {
	a, b := nstest.New(t), nstest.New(t)
	nstest.Pair(t, a, b, "192.168.35.11/24", "192.168.35.50/24")
	err := a.Do(func() error {
		return exec.CommandContext(t.Context(), "tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "8bit", "burst", "100", "limit", "10000000").Run()
	})
	if err != nil {
		t.Fatalf("add a shaper, as tc of iproute2 does: %v", err)
	}
	index := a.Link("eth0").Attrs().Index
	var failed error
	announcer := announce.NewAnnouncer(announce.Options{
		Protocol: inNS{ns: a},
		Holds:    always,
		Observe:  func(e announce.Event) { failed = e.(announce.Announced).Err },
	})
	announcer.Announce(announce.Target{Index: index, MAC: a.Link("eth0").Attrs().HardwareAddr, Addresses: []netip.Addr{netip.MustParseAddr("192.168.35.100")}})
	for range 10_000 {
		if failed != nil {
			break
		}
		announcer.Defend() // as the schedule does, once a second
	}
	if !errors.Is(failed, os.ErrDeadlineExceeded) {
		t.Errorf("error %v, want that of a deadline", failed)
	}
	announcer.Silence()
}

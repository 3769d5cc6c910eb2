package daemon

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/internal/nstest"
	"github.com/vipd-io/vipd/pkg/announce"
	kernel "github.com/vipd-io/vipd/pkg/fence"
	"github.com/vipd-io/vipd/pkg/ndp"
)

// ndpIn is Neighbour Discovery in a network namespace.
type ndpIn struct {
	ndp.Protocol
	ns *nstest.NS
}

func (p ndpIn) Open(index int) (c announce.Conn, err error) {
	err = p.ns.Do(func() error { c, err = p.Protocol.Open(index); return err })
	return c, err
}

// TestFenceRefusesAdvertisements: the kernel refuses what a process announces while no ticket
// of it is in force, whatever the process believes.
func TestFenceRefusesAdvertisements(t *testing.T) {
	node, peer := nstest.New(t), nstest.New(t)
	nstest.Pair(t, node, peer, "fd00:35::11/64", "fd00:35::12/64")
	vip := netip.MustParseAddr("fd00:35::100")
	node.AddAddr("eth0", vip.String()+"/128")
	group := []netip.Addr{netip.MustParseAddr("192.168.35.100"), vip}
	fence := kernel.New(kernel.Options{Table: kernel.TableName(group[0]), Groups: [][]netip.Addr{group}, Sources: []kernel.Source{kernel.Lease}, NetNS: node.Fd(), Log: zap.NewNop()})
	must(t, fence.Prepare())
	defer fence.Close()
	var failed error
	a := announce.NewAnnouncer(announce.Options{Protocol: ndpIn{ns: node}, Holds: func() bool { return true },
		Observe: func(e announce.Event) { failed = e.(announce.Announced).Err }})
	defer a.Silence()
	link := node.Link("eth0").Attrs()
	says := func() error {
		a.Announce(announce.Target{Index: link.Index, MAC: link.HardwareAddr, Addresses: []netip.Addr{vip}})
		return failed
	}
	gate := fence.Gate(0, kernel.Lease)
	ticket, err := gate.Arm(time.Hour)
	must(t, err)
	if err := says(); !errors.Is(err, unix.EPERM) {
		t.Errorf("with a ticket that is not in force: %v", err)
	}
	must(t, gate.Permit(ticket))
	if err := says(); err != nil {
		t.Errorf("with a ticket: %v", err)
	}
	must(t, gate.Forbid())
	if err := says(); !errors.Is(err, unix.EPERM) {
		t.Errorf("after the end: %v", err)
	}
}

package daemon

import (
	"context"
	"net/netip"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"

	"github.com/vipd-io/vipd/internal/nstest"
	"github.com/vipd-io/vipd/pkg/boottime"
	kernel "github.com/vipd-io/vipd/pkg/fence"
	"github.com/vipd-io/vipd/pkg/vip"
)

// TestOwnAddressReturns: the node's own address goes and comes back under a holder (DHCP, `netplan
// apply`). The VIP is behind the node's own address again, and no packet to the VIP is lost.
func TestOwnAddressReturns(t *testing.T) {
	const own = "192.168.35.11/24"
	client := nstest.New(t)
	ns, n, _ := observedBeside(t, client)
	// While the node has no address of its own, it needs another route for its answers.
	must(t, ns.Do(func() error {
		return exec.CommandContext(t.Context(), "ip", "route", "add", "192.168.35.0/24", "dev", "eth0", "metric", "50").Run()
	}))
	usable(t, n)
	tables := kernel.New(kernel.Options{Table: kernel.TableName(n.addresses[0]), Groups: [][]netip.Addr{n.addresses},
		Sources: []kernel.Source{kernel.Lease}, NetNS: ns.Fd()})
	must(t, tables.Prepare())
	fence := newNftFence(tables)

	changes := make(chan vip.Operation, 1000)
	m := vip.New(vip.Options{Node: "n1", Network: n, Fence: fence, Announcer: noCollaborators{}, Election: noCollaborators{}, Log: zap.NewNop(),
		Observe: func(r vip.Report) {
			for _, done := range r.Operations {
				changes <- done
			}
		}})
	n.nudge = m.Changed
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	await := func(kind vip.OperationKind, within time.Duration) (vip.Operation, bool) {
		late := time.After(within)
		for {
			select {
			case done := <-changes:
				if done.Kind == kind {
					return done, true
				}
			case <-late:
				return vip.Operation{}, false
			}
		}
	}
	// On a busy machine, a call to the kernel may time out, and the Manager gives the grant back.
	for holds := false; !holds; {
		const lease = 50 * time.Second // ends by itself: no repair may prolong it
		until := boottime.Now().Add(lease)
		ticket, err := fence.arm(lease)
		if err != nil {
			t.Log(err)
			continue
		}
		m.Granted(vip.Grant{Held: true, Known: true, Term: 1, Until: until, Ticket: ticket, Holder: "n1", Confirmed: boottime.Now()})
		_, holds = await(vip.Announced, 5*time.Second)
	}

	pings := client.Pings("192.168.35.50", testVIP)
	ticker, ask := time.NewTicker(time.Millisecond), pings.Ask
	defer ticker.Stop()
	pings.Ask = func() error { <-ticker.C; return ask() }
	lost := nstest.Flow(t, pings)
	a, err := netlink.ParseAddr(own)
	must(t, err)
	for range 3 {
		must(t, ns.Links.AddrDel(ns.Link("eth0"), a))
		ns.AddAddr("eth0", own)
		// On a busy machine, the Manager may repair something else at the same moment, and say that.
		want := []netip.Prefix{netip.MustParsePrefix(own), netip.MustParsePrefix(testVIP + "/32")}
		for !slices.Equal(ns.Addrs("eth0"), want) {
			if _, ok := await(vip.Repaired, 20*time.Second); !ok {
				t.Fatalf("the VIP stays first: %v", ns.Addrs("eth0"))
			}
		}
	}
	asked, without := lost()
	if without > 0 {
		t.Errorf("%d of %d pings were not answered", without, asked)
	}
	t.Logf("%d pings", asked)
	m.Granted(vip.Grant{Known: true, Term: 2, Holder: "n2"})
	if _, ok := await(vip.Removed, 20*time.Second); !ok {
		t.Errorf("the VIP stays: %v", ns.Addrs("eth0"))
	}
	stop()
	must(t, <-ended)
	tables.Close()
}

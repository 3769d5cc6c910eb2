package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"

	"github.com/vipd-io/vipd/internal/nstest"
	"github.com/vipd-io/vipd/pkg/announce"
	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/netif"
	"github.com/vipd-io/vipd/pkg/vip"
)

// observedNetwork returns the network of a new node with a running observer. nudged counts the
// nudges.
func observedNetwork(t testing.TB) (ns *nstest.NS, n *network, nudged *atomic.Int64) {
	t.Helper()
	return observedOn(t, nstest.New(t), "")
}

// observedBeside is observedNetwork with a peer at 192.168.35.50.
func observedBeside(t testing.TB, peer *nstest.NS) (ns *nstest.NS, n *network, nudged *atomic.Int64) {
	t.Helper()
	return observedOn(t, peer, "")
}

// observedInterface is observedNetwork with a configured interface.
func observedInterface(t testing.TB, configured string) (ns *nstest.NS, n *network, nudged *atomic.Int64) {
	t.Helper()
	return observedOn(t, nstest.New(t), configured)
}

// observedOn is observedNetwork with a peer and a configured interface.
func observedOn(t testing.TB, peer *nstest.NS, configured string) (ns *nstest.NS, n *network, nudged *atomic.Int64) {
	t.Helper()
	ns = nstest.New(t)
	nstest.Pair(t, ns, peer, "192.168.35.11/24", "192.168.35.50/24")
	handle, err := netif.Open(ns.Fd())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(handle.Close)
	nudged = new(atomic.Int64)
	began := make(chan struct{}, 1)
	observer, networks := newNetworks(handle, []GroupSpec{{Interface: configured, Addresses: []netip.Addr{netip.MustParseAddr(testVIP)}}}, zap.NewNop())
	n = networks[0]
	n.nudge = func() {
		nudged.Add(1)
		select {
		case began <- struct{}{}:
		default:
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- observer.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-began:
	case <-time.After(10 * time.Second):
		t.Fatal("the observer has not begun")
	}
	return ns, n, nudged
}

// usable waits until the interface has carrier.
func usable(t testing.TB, n *network) vip.Observation {
	t.Helper()
	for {
		if seen, err := n.Look(); err == nil {
			return seen
		}
		select {
		case <-t.Context().Done():
			t.Fatal("no carrier")
		case <-time.After(time.Millisecond):
		}
	}
}

// TestPodsDoNotWakeTheManager: the Manager is woken only for changes that matter for its group.
func TestPodsDoNotWakeTheManager(t *testing.T) {
	ns, n, nudged := observedNetwork(t)
	usable(t, n)
	nudges := func() int64 {
		if _, err := n.observer.Fresh(); err != nil { // waits until all notifications are handled
			t.Fatal(err)
		}
		return nudged.Swap(0)
	}
	nudges()
	for i := range 20 { // as a network plugin does for a pod
		name := fmt.Sprintf("cali%d", i)
		must(t, ns.Links.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "p"}))
		ns.AddAddr(name, fmt.Sprintf("10.244.0.%d/32", i+1))
		ns.Up(name)
		ns.Up(name + "p")
		if i%2 == 0 {
			must(t, ns.Links.LinkDel(ns.Link(name)))
		}
	}
	if got := nudges(); got > 0 {
		t.Errorf("%d nudges for 20 added and 10 removed pods", got)
	}
	for what, change := range map[string]func(){
		"an address beside it":         func() { ns.AddAddr("eth0", "192.168.35.12/32") },
		"the VIP on another link":      func() { ns.AddAddr("cali1", testVIP+"/32") },
		"its subnet on another link":   func() { ns.AddAddr("cali3", "192.168.35.13/28"); ns.AddAddr("cali5", "192.168.35.97/27") },
		"another MAC":                  func() { must(t, ns.Links.LinkSetHardwareAddr(ns.Link("eth0"), net.HardwareAddr{2, 0, 0, 0, 0, 9})) },
		"the interface that went down": func() { ns.Down("eth0") },
	} {
		if change(); nudges() == 0 {
			t.Errorf("no nudge for %s", what)
		}
	}
}

// noCollaborators does nothing: the collaborators of a Manager other than the network, which is
// real here.
type noCollaborators struct{}

func (noCollaborators) Permit(uint64) error                          { return nil }
func (noCollaborators) Forbid() error                                { return nil }
func (noCollaborators) Clear() error                                 { return nil }
func (noCollaborators) Intact() (bool, error)                        { return true, nil }
func (noCollaborators) Repair() error                                { return nil }
func (noCollaborators) Announce(vip.Places)                          {}
func (noCollaborators) Silence()                                     {}
func (noCollaborators) Defend()                                      {}
func (noCollaborators) Probe(vip.Places)                             {}
func (noCollaborators) Inquire(vip.Places)                           {}
func (noCollaborators) Campaign(context.Context, vip.Campaign)       {}
func (noCollaborators) GiveBack(context.Context, vip.GiveBack) error { return nil }
func (noCollaborators) Confirm(context.Context)                      {}
func (noCollaborators) Refuse(context.Context, string)               {}
func (noCollaborators) Offer(context.Context)                        {}

// countedFence reports each renewal.
type countedFence struct {
	noCollaborators
	permits chan struct{}
}

func (c countedFence) Permit(uint64) error { c.permits <- struct{}{}; return nil }

// countedNetwork reports each removal.
type countedNetwork struct {
	*network
	removed chan struct{}
}

func (c countedNetwork) Remove() error {
	err := c.network.Remove()
	if err == nil {
		c.removed <- struct{}{}
	}
	return err
}

// TestFloodOfClaims: claims of other machines delay neither a renewal nor a move. A claim causes no
// request to the kernel, whose socket renewals and moves need, and no Look.
func TestFloodOfClaims(t *testing.T) {
	ns, n, _ := observedNetwork(t)
	for i := range 100 {
		must(t, ns.Links.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprintf("pod%d", i)}}))
	}
	usable(t, n)
	counted, fence := countedNetwork{n, make(chan struct{}, 1)}, countedFence{permits: make(chan struct{}, 1000)}
	d := &group{network: n, report: testReporter(), node: &node{local: local{observer: n.observer, virtual: n.addresses, log: zap.NewNop()}}}
	d.manager = vip.New(vip.Options{Node: "n1", Network: counted, Fence: fence, Announcer: noCollaborators{}, Election: noCollaborators{}})
	n.nudge = d.manager.Changed
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.manager.Run(ctx) }()
	dumps := n.handle.Dumps()

	var flood sync.WaitGroup
	flooding, over := context.WithCancel(t.Context())
	var claims atomic.Int64
	own := ns.Link("pod7").Attrs().HardwareAddr
	for i := range 4 {
		flood.Go(func() {
			for flooding.Err() == nil {
				d.observe(announce.Claim{Addr: n.addresses[0], MAC: []byte{2, 0, 0, 0, 1, byte(i)}})
				d.observe(announce.Claim{Addr: n.addresses[0], MAC: own})
				claims.Add(2)
			}
		})
	}
	await := func(what string, c <-chan struct{}) {
		t.Helper()
		select {
		case <-c:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s was kept", what)
		}
	}
	for i := range 50 {
		now := boottime.Now()
		d.manager.Granted(vip.Grant{Held: true, Known: true, Term: 1, Until: now.Add(time.Minute), Ticket: uint64(i), Holder: "n1", Confirmed: now})
		await("a renewal", fence.permits)
	}
	d.manager.Granted(vip.Grant{Known: true, Term: 2, Holder: "n2"})
	await("a move", counted.removed)
	over()
	flood.Wait()
	// Each Look that the observer could not answer in time caused one dump; a claim causes none.
	if asked := n.handle.Dumps() - dumps; asked > 20 {
		t.Errorf("the kernel was asked for everything %d times during %d claims", asked, claims.Load())
	}
	t.Logf("%d claims", claims.Load())
	stop()
	must(t, <-ended)
	if seen, err := n.Look(); err != nil || seen.Present != vip.Absent || seen.Marked { // the Manager has ended
		t.Errorf("after the move %+v, %v", seen, err)
	}
}

// BenchmarkNetwork measures the cost of a node with many pods. "kernel asked" is the cost of a Look
// without an observer.
func BenchmarkNetwork(b *testing.B) {
	for _, links := range []int{2, 500, 1000} {
		ns, n, _ := observedNetwork(b)
		for i := range links - 2 {
			if err := ns.Links.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprintf("pod%d", i)}}); err != nil {
				b.Fatal(err)
			}
		}
		at := usable(b, n).Places
		mac := net.HardwareAddr{2, 0, 0, 0, 1, 1}
		pod := 0
		for _, c := range []struct {
			what string
			do   func() error
		}{
			{"kernel asked", func() error { _, err := n.handle.Snapshot(); return err }},
			{"look", func() error { _, err := n.Look(); return err }},
			{"claim", func() error { local{observer: n.observer}.ownMAC(mac); return nil }},
			{"refresh", func() error { return n.Put(at, time.Minute) }},
			{"move", func() error { return errors.Join(n.Put(at, time.Minute), n.Remove()) }},
			{"pod and look", func() error {
				pod++
				l := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprintf("new%d", pod)}}
				_, err := n.Look()
				return errors.Join(ns.Links.LinkAdd(l), ns.Links.LinkDel(l), err)
			}},
		} {
			b.Run(fmt.Sprintf("%s/%d", c.what, links), func(b *testing.B) {
				for b.Loop() {
					if err := c.do(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

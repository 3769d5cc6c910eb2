package daemon

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/vipd-io/vipd/internal/nstest"
	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/vip"
)

// look returns why the interface cannot serve, "" if it can.
func look(t *testing.T, n *network) (link vip.Link, why string) {
	t.Helper()
	seen, err := n.Look()
	if err != nil && !errors.Is(err, vip.ErrNoLink) {
		t.Fatal(err)
	}
	link = seen.Places.First()
	if link.Up != (err == nil) || link.Up != (link.Why == "") || err != nil && !strings.Contains(err.Error(), link.Why) {
		t.Errorf("link %+v, error %v", link, err)
	}
	return link, link.Why
}

// expect waits until the reason why the interface cannot serve contains a text; "" waits until it
// can. A bridge has carrier only some time after its port.
func expect(t *testing.T, n *network, name, want string) vip.Link {
	t.Helper()
	for began := time.Now(); ; {
		link, why := look(t, n)
		if link.Name == name && (want == "") == (why == "") && strings.Contains(why, want) {
			return link
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("%s, %q; want %s, %q", link.Name, why, name, want)
		}
		time.Sleep(time.Millisecond) // the observer has no event for "nothing changed"
	}
}

func delAddr(t *testing.T, ns *nstest.NS, link, prefix string) {
	t.Helper()
	a, err := netlink.ParseAddr(prefix)
	must(t, err)
	must(t, ns.Links.AddrDel(ns.Link(link), a))
}

// TestSubnetIsRemoved: an interface that had the VIP's subnet does not serve without it, whether the
// address or the route is gone. A default route, which leads elsewhere, is no replacement.
func TestSubnetIsRemoved(t *testing.T) {
	ns, n, _ := observedNetwork(t)
	usable(t, n)
	ns.Spare("eth1")
	ns.AddAddr("eth1", "10.9.0.1/24")
	must(t, ns.Links.RouteAdd(&netlink.Route{Gw: net.IPv4(10, 9, 0, 254)}))
	for range 2 {
		delAddr(t, ns, "eth0", "192.168.35.11/24")
		expect(t, n, "eth0", "eth0 has no address in a subnet of the VIP any more")
		ns.AddAddr("eth0", "192.168.35.11/24")
		expect(t, n, "eth0", "")
		_, subnet, _ := net.ParseCIDR("192.168.35.0/24")
		route := &netlink.Route{LinkIndex: ns.Link("eth0").Attrs().Index, Dst: subnet, Scope: netlink.SCOPE_LINK}
		must(t, ns.Links.RouteDel(route))
		expect(t, n, "eth0", "eth0 has no route to 192.168.35.0/24 any more")
		must(t, ns.Links.RouteAdd(route))
		expect(t, n, "eth0", "")
	}
	// As in clouds: a single address, and a route to the subnet.
	ns.AddAddr("eth0", "192.168.35.13/32") // not its subnet, and not the VIP
	delAddr(t, ns, "eth0", "192.168.35.11/24")
	if _, why := look(t, n); why != "" {
		t.Errorf("with a route to the subnet: %s", why)
	}
	_, subnet, _ := net.ParseCIDR("192.168.35.0/24")
	route := &netlink.Route{LinkIndex: ns.Link("eth0").Attrs().Index, Dst: subnet, Scope: netlink.SCOPE_LINK}
	must(t, ns.Links.RouteDel(route))
	expect(t, n, "eth0", "no address in a subnet")
	ns.AddAddr("eth0", "192.168.35.11/24")
	expect(t, n, "eth0", "")
	delAddr(t, ns, "eth0", "192.168.35.11/24")
	expect(t, n, "eth0", "no address in a subnet")
}

// TestSubnetThatNeverExisted: an interface that was configured on purpose is used without the VIP's
// subnet.
func TestSubnetThatNeverExisted(t *testing.T) {
	ns, n, _ := observedInterface(t, "eth0")
	delAddr(t, ns, "eth0", "192.168.35.11/24")
	ns.AddAddr("eth0", "10.9.0.1/24")
	if _, err := n.observer.Fresh(); err != nil {
		t.Fatal(err)
	}
	expect(t, n, "eth0", "")
}

// TestPortIsFollowed: an interface that was made a port of a bridge does not serve; the bridge does
// as soon as it has the subnet.
func TestPortIsFollowed(t *testing.T) {
	for _, configured := range []string{"", "eth0"} {
		t.Run("interface="+configured, func(t *testing.T) {
			ns, n, _ := observedInterface(t, configured)
			usable(t, n)
			must(t, ns.Links.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br-ex"}}))
			ns.Up("br-ex")
			must(t, ns.Links.LinkSetMaster(ns.Link("eth0"), ns.Link("br-ex")))
			expect(t, n, "eth0", "eth0 is a port of br-ex, which has no subnet of the VIP")
			delAddr(t, ns, "eth0", "192.168.35.11/24")
			expect(t, n, "eth0", "eth0 is a port of br-ex, which has no subnet of the VIP")
			ns.AddAddr("br-ex", "192.168.35.11/24")
			if link := expect(t, n, "br-ex", ""); link.Index != ns.Link("br-ex").Attrs().Index {
				t.Errorf("link %+v", link)
			}
			// And back.
			delAddr(t, ns, "br-ex", "192.168.35.11/24")
			must(t, ns.Links.LinkSetNoMaster(ns.Link("eth0")))
			ns.AddAddr("eth0", "192.168.35.11/24")
			expect(t, n, "eth0", "")
		})
	}
}

// TestPortOfVRF: a VRF is a table of routes, and its ports keep their packets.
func TestPortOfVRF(t *testing.T) {
	ns, n, _ := observedNetwork(t)
	usable(t, n)
	if err := ns.Links.LinkAdd(&netlink.Vrf{LinkAttrs: netlink.LinkAttrs{Name: "vrf0"}, Table: 10}); err != nil {
		t.Logf("this kernel has no VRF: %v", err)
		return
	}
	ns.Up("vrf0")
	must(t, ns.Links.LinkSetMaster(ns.Link("eth0"), ns.Link("vrf0")))
	expect(t, n, "eth0", "")
}

// heldElsewhere records what a Manager tells the election and the announcer.
type heldElsewhere struct {
	noCollaborators
	announced chan vip.Link
	given     chan struct{}
	campaigns chan bool
}

func (h heldElsewhere) Announce(p vip.Places) { h.announced <- p.First() }

func (h heldElsewhere) GiveBack(context.Context, vip.GiveBack) error {
	h.given <- struct{}{}
	return nil
}

func (h heldElsewhere) Campaign(_ context.Context, c vip.Campaign) { h.campaigns <- c.Eligible }

// TestHolderThatCannotServe: a holder gives the VIP away a second after its interface lost its
// subnet, and is a candidate once the subnet is back; a holder whose node moves its address to a
// bridge within that time has the VIP on the bridge.
func TestHolderThatCannotServe(t *testing.T) {
	ns, n, _ := observedNetwork(t)
	usable(t, n)
	h := heldElsewhere{announced: make(chan vip.Link, 100), given: make(chan struct{}, 100), campaigns: make(chan bool, 100)}
	reports := make(chan vip.Report, 10000)
	manager := vip.New(vip.Options{Node: "n1", Network: n, Fence: noCollaborators{}, Announcer: h, Election: h, Observe: func(r vip.Report) { reports <- r }})
	n.nudge = manager.Changed
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- manager.Run(ctx) }()
	defer func() {
		stop()
		must(t, <-ended)
	}()
	grant := func() {
		now := boottime.Now()
		manager.Granted(vip.Grant{Held: true, Known: true, Term: 1, Until: now.Add(time.Hour), Holder: "n1", Confirmed: now})
	}
	grant()
	if at := receive(t, h.announced); at.Name != "eth0" {
		t.Fatalf("announced on %+v", at)
	}

	must(t, ns.Links.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br-ex"}}))
	ns.Up("br-ex")
	must(t, ns.Links.LinkSetMaster(ns.Link("eth0"), ns.Link("br-ex")))
	delAddr(t, ns, "eth0", "192.168.35.11/24")
	ns.AddAddr("br-ex", "192.168.35.11/24")
	for on := ""; on != "br-ex"; { // a busy machine may have needed more than the second
		select {
		case at := <-h.announced:
			on = at.Name
		case <-h.given:
			grant()
		case <-time.After(20 * time.Second):
			t.Fatal("the VIP did not follow to the bridge")
		}
	}
	if got := ns.Addrs("br-ex"); !slices.Contains(got, netip.MustParsePrefix(testVIP+"/32")) || slices.Contains(ns.Addrs("eth0"), netip.MustParsePrefix(testVIP+"/32")) {
		t.Errorf("on the bridge %v, on its port %v", got, ns.Addrs("eth0"))
	}

	delAddr(t, ns, "br-ex", "192.168.35.11/24")
	for len(h.campaigns) > 0 {
		<-h.campaigns
	}
	receive(t, h.given)
	for len(reports) > 0 {
		if r := <-reports; r.State.Phase == vip.Withdrawing && !strings.Contains(r.State.Cause, "br-ex has no address in a subnet of the VIP any more") {
			t.Errorf("cause %q", r.State.Cause)
		}
	}
	ns.AddAddr("br-ex", "192.168.35.11/24")
	for !receive(t, h.campaigns) {
	}
}

func receive[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came in 20 s")
	}
	return v
}

// TestSameWay: a server in another network than the VIP tells nothing about the VIP's network, and
// neither does one behind a gateway.
func TestSameWay(t *testing.T) {
	ns, n, _ := observedNetwork(t)
	usable(t, n)
	ns.Spare("eth1")
	ns.AddAddr("eth1", "10.9.0.1/24")
	must(t, ns.Links.RouteAdd(&netlink.Route{Gw: net.IPv4(192, 168, 35, 254)}))
	for server, want := range map[string]bool{"192.168.35.50:6443": true, "10.9.0.2:6443": false, "10.10.0.1:6443": false, "control-plane-2:6443": false} {
		if got := n.sameWay(server); got != want {
			t.Errorf("%s: %t", server, got)
		}
	}
}

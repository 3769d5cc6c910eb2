package fence

import (
	"context"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"pgregory.net/rapid"

	"github.com/vipd-io/vipd/internal/nstest"
)

func replace(text string, pairs ...string) string { return strings.NewReplacer(pairs...).Replace(text) }

// rig6 is a rig of IPv6.
type rig6 struct {
	*rig
}

func newRig6(t *testing.T) rig6 {
	t.Helper()
	r := rig6{&rig{t: t, node: nstest.New(t), client: nstest.New(t)}}
	nstest.Pair(t, r.node, r.client, "192.168.35.11/24", "192.168.35.50/24")
	for ns, addrs := range map[*nstest.NS][]string{r.node: {"fd00::11/64", "fd00::100/128"}, r.client: {"fd00::50/64", "fd00::51/64"}} {
		for _, a := range addrs {
			must(t, ns.Do(func() error {
				return exec.CommandContext(context.Background(), "ip", "-6", "address", "add", a, "dev", "eth0", "nodad").Run()
			}))
		}
	}
	r.fence = newFence(t, Options{Table: "vipd-test", Groups: [][]netip.Addr{{vip, netip.MustParseAddr("fd00::100")}}, Sources: []Source{Lease}, NetNS: r.node.Fd()})
	must(t, r.fence.Prepare())
	return r
}

// known tells whether a node knows the MAC of an address.
func known(t rapid.TB, ns *nstest.NS, addr string) bool {
	t.Helper()
	list, err := ns.Links.NeighList(ns.Link("eth0").Attrs().Index, netlink.FAMILY_V6)
	must(t, err)
	for _, n := range list {
		if n.IP.Equal(net.ParseIP(addr)) && len(n.HardwareAddr) > 0 {
			return true
		}
	}
	return false
}

// spreads makes a node send packets, and tells whether a neighbour learns the first address from
// these packets. The neighbour always learns the second address, from a later packet.
func spreads(t rapid.TB, from, at *nstest.NS, send [2][2]string, learns [2]string) bool {
	t.Helper()
	var all [2]net.Conn
	for i, pair := range send {
		must(t, from.Do(func() (err error) {
			all[i], err = net.DialUDP("udp6", &net.UDPAddr{IP: net.ParseIP(pair[0])}, &net.UDPAddr{IP: net.ParseIP(pair[1]), Port: 9})
			return err
		}))
		defer func() { _ = all[i].Close() }()
	}
	for _, ns := range []*nstest.NS{from, at} {
		must(t, ns.Do(func() error {
			return exec.CommandContext(context.Background(), "ip", "-6", "neigh", "flush", "dev", "eth0").Run()
		}))
	}
	nstest.InOrder(t, func() {
		for _, c := range all {
			_, err := c.Write([]byte("x"))
			must(t, err)
		}
	})
	for deadline := time.Now().Add(5 * time.Second); !known(t, at, learns[1]); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s is not learnt at all", learns[1])
		}
	}
	return known(t, at, learns[0])
}

// TestIPv6: the closed fence stops answers for the VIP, solicitations from it, and packets to it.
func TestIPv6(t *testing.T) {
	r := newRig6(t)
	expect := func(want bool, when string) {
		t.Helper()
		if got := spreads(t, r.client, r.client, [2][2]string{{"fd00::50", "fd00::100"}, {"fd00::50", "fd00::11"}}, [2]string{"fd00::100", "fd00::11"}); got != want {
			t.Errorf("%s: a neighbour advertisement is sent = %t, want %t", when, got, want)
		}
		if got := spreads(t, r.node, r.client, [2][2]string{{"fd00::100", "fd00::50"}, {"fd00::11", "fd00::51"}}, [2]string{"fd00::100", "fd00::11"}); got != want {
			t.Errorf("%s: a neighbour solicitation is sent = %t, want %t", when, got, want)
		}
	}
	expect(true, "fence at rest")
	ticket, err := r.gate().Arm(20 * time.Second)
	must(t, err)
	expect(false, "armed")
	must(t, r.gate().Permit(ticket))
	expect(true, "permitted")
	r.receives(t)
	r.expectIntact(t, true, "permitted")
	must(t, r.gate().Forbid())
	expect(false, "forbidden")
	r.nft(t, "flush chain ip6 vipd-test answers-lease")
	r.expectIntact(t, false, "damaged")
	must(t, r.fence.Repair())
	expect(false, "repaired")
}

// receives tries a connection to the VIP, and then one with the fence closed.
func (r rig6) receives(t *testing.T) {
	t.Helper()
	var l net.Listener
	must(t, r.node.Do(func() (err error) {
		l, err = net.Listen("tcp", "[fd00::100]:6443")
		return err
	}))
	defer func() { _ = l.Close() }()
	must(t, r.dial(l, answered))
	must(t, r.gate().Forbid())
	if r.dial(l, silence) == nil {
		t.Error("a client that knows the MAC still reaches the fenced VIP")
	}
}

// TestTableNameCanBeReadBack: `nft list ruleset > file; nft -f file` is how rulesets are kept over
// a reboot, and one unreadable name makes the whole file unreadable.
func TestTableNameCanBeReadBack(t *testing.T) {
	names := make(map[string]string)
	for _, addr := range []string{"192.168.35.100", "fd00::1", "::1", "fd00::", "fd00:0:0:1:2:3:4:5", "fd00::1%eth0", "2001:db8:1:2:3:4:5:6", "fd00::100", "fd00:0:1::"} {
		t.Run(addr, func(t *testing.T) {
			a := netip.MustParseAddr(addr)
			name := TableName(a)
			if earlier := names[name]; earlier != "" && a.Zone() == "" {
				t.Errorf("the name %q is that of %s, too", name, earlier)
			}
			names[name] = addr
			r := &rig{t: t, node: nstest.New(t)}
			r.fence = newFence(t, Options{Table: name, Groups: [][]netip.Addr{{a.WithZone("")}}, Sources: []Source{Lease}, NetNS: r.node.Fd()})
			must(t, r.fence.Prepare())
			r.opened(t, time.Minute)
			saved := r.nft(t, "list ruleset")
			if !strings.Contains(saved, " "+name+" {") {
				t.Fatalf("no table %q in:\n%s", name, saved)
			}
			r.nft(t, "flush ruleset\n"+saved)
			must(t, r.gate().Clear()) // the timeout was extended by the duration of nft
			r.expectIntact(t, true, "read back")
		})
	}
}

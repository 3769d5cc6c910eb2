package netif

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/vishvananda/netlink"

	"github.com/vipd-io/vipd/internal/nstest"
)

// returns removes an address of the node itself, and adds the address again.
func returns(t *testing.T, ns *nstest.NS, prefix string) {
	t.Helper()
	a, err := netlink.ParseAddr(prefix)
	must(t, err)
	must(t, ns.Links.AddrDel(ns.Link("eth0"), a))
	ns.AddAddr("eth0", prefix)
}

// prefixes converts addresses for a comparison.
func prefixes(list ...string) (out []netip.Prefix) {
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// TestPutMovesTheVIPBehindOthers: the VIP is never the first address of its interface if the node
// has its own address there.
func TestPutMovesTheVIPBehindOthers(t *testing.T) {
	const own, second, virtual = "192.168.35.11/24", "192.168.35.12/24", "192.168.35.100/32"
	promote := func(t *testing.T, ns *nstest.NS) {
		t.Helper()
		run(t, ns, "sysctl", "-qw", "net.ipv4.conf.all.promote_secondaries=1")
	}
	remove := func(t *testing.T, ns *nstest.NS) {
		t.Helper()
		a, err := netlink.ParseAddr(own)
		must(t, err)
		must(t, ns.Links.AddrDel(ns.Link("eth0"), a))
	}
	for _, c := range []struct {
		name         string
		change       func(*testing.T, *nstest.NS)
		before, want []netip.Prefix
	}{
		{"own address returned", func(t *testing.T, ns *nstest.NS) { returns(t, ns, own) }, prefixes(virtual, own), prefixes(own, virtual)},
		{"own address gone", remove, prefixes(virtual), prefixes(virtual)},
		{"second address", func(_ *testing.T, ns *nstest.NS) { ns.AddAddr("eth0", second) }, prefixes(own, virtual, second), prefixes(own, virtual, second)},
		{"second address promoted", func(t *testing.T, ns *nstest.NS) {
			promote(t, ns)
			ns.AddAddr("eth0", second)
			remove(t, ns)
		}, prefixes(virtual, second), prefixes(second, virtual)},
		{"own address returned before another", func(t *testing.T, ns *nstest.NS) {
			promote(t, ns)
			ns.AddAddr("eth0", second)
			returns(t, ns, own)
		}, prefixes(virtual, second, own), prefixes(second, virtual, own)},
	} {
		t.Run(c.name, func(t *testing.T) {
			ns, h := node(t)
			must(t, put(t, h, index(t, h), time.Minute))
			o := observed(t, h, ObserverOptions{})
			c.change(t, ns)
			if got := ns.Addrs("eth0"); !slices.Equal(got, c.before) {
				t.Fatalf("the kernel has %v, want %v", got, c.before)
			}
			now, err := o.Fresh()
			must(t, err)
			at := Place{Addr: vip, Link: index(t, h)}
			if got := orderOf(now, at.Link); !slices.Equal(got, c.before) {
				t.Errorf("observed %v, want %v", got, c.before)
			}
			is, err := h.Ahead(now, at)
			must(t, err)
			if want := !slices.Equal(c.before, c.want); is != want {
				t.Errorf("ahead = %t, want %t", is, want)
			}
			must(t, h.Put(now, at, time.Minute))
			if got := ns.Addrs("eth0"); !slices.Equal(got, c.want) {
				t.Errorf("after Put %v, want %v", got, c.want)
			}
			now, err = o.Fresh()
			must(t, err)
			if got := orderOf(now, at.Link); !slices.Equal(got, c.want) {
				t.Errorf("observed after Put %v, want %v", got, c.want)
			}
			if got := vipAddress(t, h); !got.Ours || got.Prefix.Bits() != 32 || got.Valid < 50*time.Second {
				t.Errorf("address = %+v, want a marked /32 for a minute", got)
			}
		})
	}
}

// orderOf returns the IPv4 addresses of an interface as a snapshot has them.
func orderOf(s *Snapshot, index int) (out []netip.Prefix) {
	for _, a := range s.On(index) {
		if a.Prefix.Addr().Is4() {
			out = append(out, a.Prefix)
		}
	}
	return out
}

// TestMoveBehindOthersLosesNoPacket: while the VIP moves behind the node's own address, every ARP
// request and every packet is answered, and no connection ends.
func TestMoveBehindOthersLosesNoPacket(t *testing.T) {
	server, client, h := serverAndClient(t)
	// In this test, answers need a route while the node has no address of its own.
	run(t, server, "ip", "route", "add", "192.168.35.0/24", "dev", "eth0", "metric", "50")
	must(t, put(t, h, index(t, h), time.Minute))
	listen(t, server, ":6443")
	old := connect(t, client, "192.168.35.100:6443")

	pings, questions := nstest.Flow(t, client.Pings("192.168.35.50", "192.168.35.100")), nstest.Flow(t, asker(t, client))
	connecting := nstest.Flow(t, nstest.Exchange{
		Ask: func() error { return nil },
		Answer: func() error {
			c, err := dial(client, "192.168.35.100:6443")
			if err != nil {
				return err
			}
			return c.Close()
		},
	})
	const moves = 100
	for range moves {
		returns(t, server, "192.168.35.11/24")
		must(t, put(t, h, index(t, h), time.Minute))
	}
	if got, want := server.Addrs("eth0"), prefixes("192.168.35.11/24", "192.168.35.100/32"); !slices.Equal(got, want) {
		t.Errorf("addresses = %v, want %v", got, want)
	}
	for what, end := range map[string]func() (int, int){"pings": pings, "ARP requests": questions, "connections": connecting} {
		asked, lost := end()
		if lost > 0 {
			t.Errorf("%d of %d %s were not answered during %d moves", lost, asked, what, moves)
		}
		t.Logf("%d %s", asked, what)
	}
	must(t, alive(old))
}

// asker sends ARP requests for the VIP.
func asker(t *testing.T, ns *nstest.NS) nstest.Exchange {
	t.Helper()
	c, mac := ns.Frames("eth0", nstest.EtherTypeARP), ns.Link("eth0").Attrs().HardwareAddr
	request, err := arp.NewPacket(arp.OperationRequest, mac, netip.MustParseAddr("192.168.35.50"), ethernet.Broadcast, vip)
	must(t, err)
	buf := make([]byte, 1500)
	return nstest.Exchange{
		Ask: func() error { return broadcast(c, mac, request) },
		Answer: func() error {
			if err := c.SetReadDeadline(time.Now().Add(nstest.Patience)); err != nil {
				return err
			}
			for {
				n, _, err := c.ReadFrom(buf)
				if err != nil {
					return err
				}
				var f ethernet.Frame
				var p arp.Packet
				if f.UnmarshalBinary(buf[:n]) == nil && p.UnmarshalBinary(f.Payload) == nil && p.Operation == arp.OperationReply && p.SenderIP == vip {
					return nil
				}
			}
		},
	}
}

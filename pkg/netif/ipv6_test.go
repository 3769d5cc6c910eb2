package netif

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/internal/nstest"
)

var vip6 = netip.MustParseAddr("fd00:35::100")

// TestPutIPv6: an IPv6 address can be used at once, has an end, and is never chosen as a source, as
// long as the node has another address.
func TestPutIPv6(t *testing.T) {
	ns, h := node(t)
	ns.AddAddr("eth0", "fd00:35::11/64")
	i := index(t, h)
	at := Place{Addr: vip6, Link: i}
	put := func(valid time.Duration) {
		t.Helper()
		now, err := h.Snapshot()
		must(t, err)
		must(t, h.Put(now, at, valid))
	}
	put(2500 * time.Millisecond)
	list, err := ns.Links.AddrList(ns.Link("eth0"), netlink.FAMILY_V6)
	must(t, err)
	found := false
	for _, a := range list {
		if a.IP.Equal(vip6.AsSlice()) {
			found = true
			const want = unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_DEPRECATED
			if a.Flags&(want|unix.IFA_F_TENTATIVE|unix.IFA_F_PERMANENT) != want || a.ValidLft != 3 || a.Protocol != Protocol {
				t.Errorf("flags %#x, lifetime %d s, protocol %#x", a.Flags, a.ValidLft, a.Protocol)
			}
		}
	}
	if !found {
		t.Fatalf("addresses: %v", list)
	}
	put(time.Minute)
	if got := source(t, ns, "fd00:35::50"); got.String() != "fd00:35::11" {
		t.Errorf("source = %s, want the node's own address", got)
	}
	now, err := h.Snapshot()
	must(t, err)
	if err := h.Divert(now, at); !errors.Is(err, ErrNotDiverted) {
		t.Errorf("Divert = %v", err)
	}
	must(t, h.Remove(now, at))
	left, err := find(h, vip6)
	must(t, err)
	if len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// source returns the address from which the kernel sends to another one.
func source(t *testing.T, ns *nstest.NS, to string) net.IP {
	t.Helper()
	routes, err := ns.Links.RouteGet(net.ParseIP(to))
	must(t, err)
	return routes[0].Src
}

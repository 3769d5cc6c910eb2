package netif

import (
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/vipd-io/vipd/internal/nstest"
)

// TestNeighbour: entries that the kernel uses count, and expired entries do not.
func TestNeighbour(t *testing.T) {
	ns, h := node(t)
	addr := netip.MustParseAddr("192.168.35.50")
	mac := []byte{2, 0, 0, 0, 0, 7}
	expect := func(when, want string) {
		t.Helper()
		if got, err := h.Neighbour(addr); err != nil || got.String() != want {
			t.Errorf("%s: %v, %v; want %q", when, got, err, want)
		}
	}
	expect("at first", "")
	ns.SetNeighbour("eth0", addr, mac)
	expect("confirmed", "02:00:00:00:00:07")
	setState(t, ns, addr, mac, netlink.NUD_STALE)
	expect("stale", "")
	setState(t, ns, addr, mac, netlink.NUD_PERMANENT)
	expect("set by hand", "02:00:00:00:00:07")
}

func setState(t *testing.T, ns *nstest.NS, addr netip.Addr, mac []byte, state int) {
	t.Helper()
	must(t, ns.Links.NeighSet(&netlink.Neigh{LinkIndex: ns.Link("eth0").Attrs().Index, Family: netlink.FAMILY_V4, State: state, IP: addr.AsSlice(), HardwareAddr: mac}))
}

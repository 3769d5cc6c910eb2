package netif

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// kindVRF is a master that leaves the packets of its ports to them (net/core/dev.c,
	// __netif_receive_skb_core; drivers/net/vrf.c has no handler of received frames).
	kindVRF = "vrf"
	// kindOpenvSwitch is the kind of the datapath, which is the master of all ports, and of the
	// internal interfaces, which have the addresses and no master (net/openvswitch/vport-netdev.c,
	// vport-internal_dev.c).
	kindOpenvSwitch = "openvswitch"
)

// maxMasters bounds the chain of masters: a port of a bond that is a port of a bridge has two.
const maxMasters = 8

// PortOf returns the interface that receives the packets of a port: a bridge, a bond, a team or an
// Open vSwitch. The address of a port neither gets packets nor ARP requests on the port itself. ok
// is false if the interface is no port.
func (s *Snapshot) PortOf(l Link) (master Link, ok bool) {
	if l.Master == 0 {
		return Link{}, false
	}
	master, ok = s.LinkAt(l.Master)
	if !ok {
		return Link{Index: l.Master, Name: fmt.Sprintf("interface %d", l.Master)}, true
	}
	return master, master.Kind != kindVRF
}

// Follow returns the interface that serves an address in place of a port: the nearest master with a
// subnet that contains the address; for a port of an Open vSwitch, the internal interface with such
// a subnet. ok is false if there is none.
func (s *Snapshot) Follow(port Link, addr netip.Addr) (to Link, ok bool) {
	at := port
	for range maxMasters {
		master, is := s.PortOf(at)
		if !is {
			return Link{}, false
		}
		if master.Kind == kindOpenvSwitch {
			return s.internal(addr)
		}
		if _, within := s.SubnetOn(master.Index, addr); within {
			return master, len(master.MAC) == 6
		}
		at = master
	}
	return Link{}, false
}

// internal returns the internal interface of an Open vSwitch whose subnet contains addr.
func (s *Snapshot) internal(addr netip.Addr) (Link, bool) {
	name, err := s.Choose(addr)
	if err != nil {
		return Link{}, false
	}
	l, err := s.Link(name)
	return l, err == nil && l.Kind == kindOpenvSwitch
}

// SubnetOn returns the longest subnet of an interface that contains addr, by an address of another
// owner than vipd.
func (s *Snapshot) SubnetOn(index int, addr netip.Addr) (subnet netip.Prefix, ok bool) {
	for _, a := range s.On(index) {
		if !a.Ours && !a.Prefix.IsSingleIP() && a.Prefix.Addr() != addr && a.Prefix.Contains(addr) && (!ok || a.Prefix.Bits() > subnet.Bits()) {
			subnet, ok = a.Prefix.Masked(), true
		}
	}
	return subnet, ok
}

// Direct tells whether this node sends packets for a subnet to its link, without a gateway. An
// address may be there without the route: somebody removed it, or it is noprefixroute and its owner
// has not added one. Hosts with routes of their own, as of pods, do not decide: the result is true
// if any of several hosts is reached directly. through is the index of the link, 0 for any.
func (h *Handle) Direct(s *Snapshot, subnet netip.Prefix, through int) (bool, error) {
	asked := false
	for _, host := range hosts(subnet) {
		if len(s.At(host)) > 0 {
			continue // a local address has a route of its own
		}
		routes, err := h.h.RouteGet(host.AsSlice())
		switch {
		case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH):
		case err != nil:
			return true, fmt.Errorf("look up the route to %s: %w", host, err)
		default:
			for _, r := range routes {
				if r.Gw == nil && r.Via == nil && (through == 0 || r.LinkIndex == through) {
					return true, nil
				}
			}
		}
		asked = true
	}
	return !asked && through == 0, nil
}

// SameWay tells whether this node sends packets for two addresses through the same interface, to
// the same gateway if any.
func (h *Handle) SameWay(a, b netip.Addr) (bool, error) {
	var ways [2][]netlink.Route
	for i, to := range []netip.Addr{a, b} {
		var err error
		if ways[i], err = h.h.RouteGet(to.AsSlice()); err != nil {
			return false, fmt.Errorf("look up the route to %s: %w", to, err)
		}
	}
	return slices.EqualFunc(ways[0], ways[1], func(x, y netlink.Route) bool {
		return x.LinkIndex == y.LinkIndex && x.Gw.Equal(y.Gw) && (x.Via == nil) == (y.Via == nil) && (x.Via == nil || x.Via.Equal(y.Via))
	}), nil
}

// hosts returns some hosts of a subnet: the first one, and those in the middle.
func hosts(subnet netip.Prefix) []netip.Addr {
	first, bits := subnet.Masked().Addr(), subnet.Addr().BitLen()-subnet.Bits()
	if bits < 2 {
		return []netip.Addr{first, first.Next()}
	}
	b := first.AsSlice()
	for i := range bits - 1 { // all bits of the host but the first
		b[len(b)-1-i/8] |= 1 << (i % 8)
	}
	middle, _ := netip.AddrFromSlice(b)
	return []netip.Addr{first.Next(), middle, middle.Next()}
}

package netif

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Place is an address and the index of the interface chosen for it, 0 for none.
type Place struct {
	Addr netip.Addr
	Link int
	// Left is the address with the prefix length with which another VIP manager left it on the
	// interface, as a snapshot before this one showed it, see Snapshot.Left. The zero value is none.
	Left netip.Prefix
}

// Presence is where a VIP is on this node, by owner. vipd changes only its own addresses.
type Presence struct {
	// Ours have vipd's mark, on any interface; or another VIP manager left them on the interface
	// that is chosen for the VIP, beside the node's own address there.
	Ours []Address
	// Own are addresses of the node itself: on another interface, or the only address of the chosen
	// interface, or the first one of a subnet.
	Own []Address
	// OnLocal are single addresses on a local interface, which leads nowhere. kube-proxy in IPVS
	// mode adds the external addresses of Services to kube-ipvs0 of every node (pkg/proxy/ipvs), and
	// load balancers with direct server return need the VIP on the loopback.
	OnLocal []Address
}

// Presence returns where the address is.
func (s *Snapshot) Presence(at Place) Presence {
	var p Presence
	for _, a := range s.At(at.Addr) {
		switch local := s.links.get(a.Index).Local; {
		case a.Ours || !local && s.left(a, at):
			p.Ours = append(p.Ours, a)
		case local && a.Prefix.IsSingleIP():
			p.OnLocal = append(p.OnLocal, a)
		default:
			p.Own = append(p.Own, a)
		}
	}
	return p
}

// left tells whether an address without a mark has the form that other VIP managers leave behind: a
// single address beside other addresses; or, of kube-vip with vip_subnet and of keepalived with a
// prefix, an address for ever, as no address from DHCP is, that was added after the node's own address
// in its subnet. With the same prefix length, the address is secondary to the node's own; with another
// one, it has a subnet of its own. An address may be what the node is reached by if no address before
// it has the VIP's subnet, or if others are secondary to it, which its removal would remove.
//
// If the node's own address goes away, the kernel removes its secondary addresses, or promotes them
// (promote_secondaries, which systemd sets). An address that was left before stays left when it was
// promoted, also when the node's own address is back and is secondary to it: the promotion shows that
// the removal promotes the node's own address in turn.
func (s *Snapshot) left(a Address, at Place) bool {
	if at.Link <= 0 || a.Index != at.Link {
		return false
	}
	if a.Prefix.IsSingleIP() {
		return !s.alone(a)
	}
	return (a.Secondary || a.Prefix == at.Left || s.beside(a)) && a.Valid == forEver && !a.Peer.IsValid()
}

// beside tells whether an address was added beside an earlier address of the node in a subnet of another
// length, and no other address is secondary to it.
func (s *Snapshot) beside(a Address) bool {
	after := false
	for _, b := range s.On(a.Index) {
		switch {
		case b.same(a):
			return after && !slices.ContainsFunc(s.On(a.Index), func(c Address) bool { return !c.same(a) && c.Prefix.Masked() == a.Prefix.Masked() })
		case b.Global && !b.Ours && !b.Prefix.IsSingleIP() && b.Prefix.Addr() != a.Prefix.Addr() && b.Prefix.Contains(a.Prefix.Addr()):
			after = true
		}
	}
	return false
}

// Left returns the address with the prefix length of the subnet with which another VIP manager left
// it on the interface of the place, for Place.Left of later snapshots; the zero value for none.
func (s *Snapshot) Left(at Place) netip.Prefix {
	for _, a := range s.At(at.Addr) {
		if !a.Ours && !a.Prefix.IsSingleIP() && s.left(a, at) {
			return a.Prefix
		}
	}
	return netip.Prefix{}
}

// forEver is the lifetime of an address without an end.
const forEver = (1<<32 - 1) * time.Second

// alone tells whether an interface has no other address of its own in that family: the DHCP of a
// cloud hands out single addresses.
func (s *Snapshot) alone(a Address) bool {
	for _, b := range s.On(a.Index) {
		if b.Global && !b.Ours && b.Prefix.Addr() != a.Prefix.Addr() && b.Prefix.Addr().Is4() == a.Prefix.Addr().Is4() {
			return false
		}
	}
	return true
}

// foreign returns an address that is not vipd's on an interface, 0 for any.
func (p Presence) foreign(link int) (Address, bool) {
	for _, list := range [...][]Address{p.Own, p.OnLocal} {
		for _, a := range list {
			if link == 0 || a.Index == link {
				return a, true
			}
		}
	}
	return Address{}, false
}

// Where describes where an address is, for people.
func (s *Snapshot) Where(a Address) string {
	l, ok := s.LinkAt(a.Index)
	if !ok {
		return fmt.Sprintf("%s on interface %d", a.Prefix, a.Index)
	}
	return fmt.Sprintf("%s on %s", a.Prefix, l.Name)
}

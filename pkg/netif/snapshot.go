package netif

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// Snapshot is the interfaces and addresses at one instant. A Snapshot is immutable once handed out.
// The cost of a lookup depends on the size of the result only. The zero Snapshot is a node without
// interfaces.
type Snapshot struct {
	links  table[int, Link]
	names  table[string, int]             // of links, including alternative names
	macs   table[string, []int]           // the links with this MAC
	at     table[netip.Addr, []Address]   // by address
	within table[netip.Prefix, []Address] // by subnet
	on     table[int, []Address]          // by link
}

// Snapshot asks the kernel for all interfaces and addresses.
func (h *Handle) Snapshot() (*Snapshot, error) {
	h.dumps.Add(1)
	links, err := h.Links()
	if err != nil {
		return nil, err
	}
	addrs, err := h.Addresses()
	if err != nil {
		return nil, err
	}
	return newSnapshot(links, addrs), nil
}

func newSnapshot(links []Link, addrs []Address) *Snapshot {
	s := &Snapshot{}
	for _, l := range links {
		s.setLink(l)
	}
	for _, a := range addrs {
		s.setAddress(a)
	}
	return s
}

// Link looks an interface up by its name or an alternative name. The error is ErrLinkNotFound if
// there is none, ErrNotEthernet if the interface does not use ARP for Ethernet.
func (s *Snapshot) Link(name string) (Link, error) {
	l, ok := s.LinkAt(s.names.get(name))
	if !ok {
		return Link{}, fmt.Errorf("interface %q: %w", name, ErrLinkNotFound)
	}
	if len(l.MAC) != 6 {
		return Link{}, fmt.Errorf("interface %q: %w", name, ErrNotEthernet)
	}
	return l, nil
}

// LinkAt returns the interface with this index; ok is false if there is none.
func (s *Snapshot) LinkAt(index int) (l Link, ok bool) {
	l = s.links.get(index)
	return l, l.Index != 0
}

// Links returns the interfaces, sorted by index.
func (s *Snapshot) Links() []Link {
	return slices.SortedFunc(s.links.all(), func(a, b Link) int { return a.Index - b.Index })
}

// Addresses returns all addresses, sorted by the index of their interface.
func (s *Snapshot) Addresses() []Address {
	var out []Address
	for on := range s.on.all() {
		out = append(out, on...)
	}
	slices.SortStableFunc(out, func(a, b Address) int { return cmp.Or(a.Index-b.Index, a.Prefix.Compare(b.Prefix)) })
	return out
}

// At returns the interfaces' copies of an address. The caller must not change the slice.
func (s *Snapshot) At(addr netip.Addr) []Address { return s.at.get(addr) }

// On returns the addresses of an interface, those of IPv4 in the order of the kernel unless
// addresses changed while the kernel listed them. The caller must not change the slice.
func (s *Snapshot) On(index int) []Address { return s.on.get(index) }

// HasMAC tells whether an interface has the MAC.
func (s *Snapshot) HasMAC(mac net.HardwareAddr) bool { return len(s.macs.get(string(mac))) > 0 }

func (s *Snapshot) setLink(l Link) {
	s.dropLinkOnly(l.Index)
	s.links.set(l.Index, l)
	for _, name := range append(slices.Clone(l.AltNames), l.Name) {
		s.names.set(name, l.Index)
	}
	s.macs.set(string(l.MAC), append(slices.Clone(s.macs.get(string(l.MAC))), l.Index))
}

// dropLink drops an interface and its addresses.
func (s *Snapshot) dropLink(index int) {
	s.dropLinkOnly(index)
	for _, a := range slices.Clone(s.on.get(index)) {
		s.dropAddress(a)
	}
}

func (s *Snapshot) dropLinkOnly(index int) {
	l, ok := s.LinkAt(index)
	if !ok {
		return
	}
	s.links.delete(index)
	for _, name := range append(slices.Clone(l.AltNames), l.Name) {
		if s.names.get(name) == index { // another link may have the name by now
			s.names.delete(name)
		}
	}
	left := slices.DeleteFunc(slices.Clone(s.macs.get(string(l.MAC))), func(i int) bool { return i == index })
	keep(&s.macs, string(l.MAC), left)
}

// setAddress adds an address, or replaces it. The addresses of an interface stay in the order of the
// kernel: a primary IPv4 address comes after the last primary one, and before all secondary ones
// (net/ipv4/devinet.c, __inet_insert_ifa and __inet_del_ifa).
func (s *Snapshot) setAddress(a Address) {
	s.change(a, func(list []Address) []Address {
		i := slices.IndexFunc(list, a.same)
		if i >= 0 && list[i].Secondary == a.Secondary {
			list[i] = a
			return list
		}
		if i >= 0 { // promoted
			list = slices.Delete(list, i, i+1)
		}
		behind := len(list)
		if first := slices.IndexFunc(list, func(b Address) bool { return b.Secondary }); first >= 0 && !a.Secondary {
			behind = first
		}
		return slices.Insert(list, behind, a)
	})
}

func (s *Snapshot) dropAddress(a Address) {
	s.change(a, func(list []Address) []Address {
		return slices.DeleteFunc(list, func(b Address) bool { return b.same(a) })
	})
}

// change replaces each list that contains a, or will.
func (s *Snapshot) change(a Address, do func([]Address) []Address) {
	keep(&s.at, a.Prefix.Addr(), do(slices.Clone(s.at.get(a.Prefix.Addr()))))
	keep(&s.within, a.Prefix.Masked(), do(slices.Clone(s.within.get(a.Prefix.Masked()))))
	keep(&s.on, a.Index, do(slices.Clone(s.on.get(a.Index))))
}

// keep stores a list, or deletes an empty one.
func keep[K comparable, V any](t *table[K, []V], k K, list []V) {
	if len(list) == 0 {
		t.delete(k)
		return
	}
	t.set(k, list)
}

// same tells whether a and b are the same address to the kernel: prefix, peer and interface are
// part of the identity.
func (a Address) same(b Address) bool {
	return a.Index == b.Index && a.Prefix == b.Prefix && a.Peer == b.Peer
}

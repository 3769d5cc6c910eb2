package netif

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// Ahead tells whether vipd's address is before all addresses of the node itself on the interface,
// as it is after an own address was removed and added again (DHCP, `netplan apply`). Programs that
// take the first address of an interface for that of the node then take the VIP: kubelet for its
// InternalIP, and network plugins.
//
// The snapshot decides, and the kernel confirms: the snapshot may have another order.
func (h *Handle) Ahead(s *Snapshot, at Place) (bool, error) {
	if !ahead(s.On(at.Link), at.Addr) {
		return false, nil
	}
	list, err := h.on(at.Link, at.Addr)
	return ahead(list, at.Addr), err
}

// ahead is Ahead for the addresses of one interface. Secondary addresses do not count: they are
// behind all primary ones wherever the VIP is. The order of IPv6 addresses does not depend on
// when they were added, but on their scope (net/ipv6/addrconf.c, ipv6_link_dev_addr).
func ahead(list []Address, addr netip.Addr) bool {
	ours := slices.IndexFunc(list, func(a Address) bool { return a.Ours && a.Prefix.Addr() == addr })
	own := slices.IndexFunc(list, func(a Address) bool {
		return a.Global && !a.Ours && !a.Secondary && a.Prefix.Addr().Is4() && a.Prefix.Addr() != addr
	})
	return addr.Is4() && ours >= 0 && own > ours
}

// moveBehind moves vipd's address behind all others of its interface. A second copy, of another
// prefix length, is there while the address is removed and added again: with it, the kernel keeps
// its local route to the address (net/ipv4/fib_frontend.c, fib_del_ifaddr), so the node goes on
// answering and loses no packet. Without the copy, the node loses packets even if one message to
// the kernel removes and adds the address.
func (h *Handle) moveBehind(index int, addr netip.Addr, valid time.Duration) error {
	final, copied := toNetlink(index, addr, valid), toNetlink(index, addr, valid)
	bits := addr.BitLen()
	copied.Mask = net.CIDRMask(bits-1, bits) // a /31 has no broadcast address
	steps := []func() error{
		func() error { return h.h.AddrReplace(nil, copied) },
		func() error { return h.remove(Address{Prefix: netip.PrefixFrom(addr, bits), Index: index}) },
		func() error { return h.h.AddrReplace(nil, final) },
		func() error { return h.remove(Address{Prefix: netip.PrefixFrom(addr, bits-1), Index: index}) },
	}
	for _, do := range steps {
		if err := do(); err != nil {
			return fmt.Errorf("move %s behind the other addresses of interface %d: %w", addr, index, err)
		}
	}
	return nil
}

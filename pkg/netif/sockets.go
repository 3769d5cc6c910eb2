package netif

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// ErrDestroyUnsupported means that this kernel ends no sockets on request: it is
// built without CONFIG_INET_DIAG_DESTROY, or without CONFIG_INET_DIAG.
var ErrDestroyUnsupported = errors.New("this kernel cannot destroy sockets")

// DestroySockets ends this node's TCP connections on addr and returns how many:
// each peer gets a reset, so that it connects anew at once, and does not wait
// for answers of an address that is elsewhere. Listeners stay. addr must still be
// on an interface, or the kernel sends no reset from it (net/ipv4/route.c,
// ip_route_output_key_hash_rcu). The error is ErrDestroyUnsupported if the
// kernel cannot do it.
func (h *Handle) DestroySockets(addr netip.Addr) (n int, err error) {
	for _, family := range socketFamilies(addr) {
		sockets, err := h.diag.list(family, addr)
		if err != nil {
			return n, fmt.Errorf("list sockets on %s: %w", addr, err)
		}
		for _, s := range sockets {
			done, err := h.diag.destroy(s)
			if err != nil {
				return n, fmt.Errorf("destroy socket on %s: %w", addr, err)
			}
			if done {
				n++
			}
		}
	}
	return n, nil
}

// socketFamilies are those of the sockets that can have addr. A listener on [::]
// accepts from IPv4 clients, too; its connections are of AF_INET6 and have the
// address as ::ffff:a.b.c.d (ipv6(7)).
func socketFamilies(addr netip.Addr) []uint8 {
	if addr.Is4() {
		return []uint8{unix.AF_INET, unix.AF_INET6}
	}
	return []uint8{unix.AF_INET6}
}

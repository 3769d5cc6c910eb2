package netif

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// ErrDestroyUnsupported means that this kernel cannot end sockets on request: it was built without
// CONFIG_INET_DIAG_DESTROY, or without CONFIG_INET_DIAG.
var ErrDestroyUnsupported = errors.New("this kernel cannot destroy sockets")

// DestroySockets ends this node's TCP connections on addr, and returns how many. Each peer gets a
// reset, so that it reconnects at once instead of waiting for answers of an address that has moved.
// Listeners stay. addr must still be on an interface, or the kernel sends no reset
// (net/ipv4/route.c, ip_route_output_key_hash_rcu). The error is ErrDestroyUnsupported if the
// kernel does not support it.
func (h *Handle) DestroySockets(addr netip.Addr) (n int, err error) {
	for _, family := range socketFamilies(addr) {
		sockets, err := h.diag.list(family, addr)
		if err != nil {
			return n, fmt.Errorf("list sockets on %s: %w", addr, err)
		}
		done, err := h.diag.destroy(sockets)
		n += done
		if err != nil {
			return n, fmt.Errorf("destroy sockets on %s: %w", addr, err)
		}
	}
	return n, nil
}

// socketFamilies returns the families of the sockets that can have addr. A listener on [::] accepts
// IPv4 clients, too; its connections are of AF_INET6 and have the address as ::ffff:a.b.c.d
// (ipv6(7)).
func socketFamilies(addr netip.Addr) []uint8 {
	if addr.Is4() {
		return []uint8{unix.AF_INET, unix.AF_INET6}
	}
	return []uint8{unix.AF_INET6}
}

package netif

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Neighbour returns the MAC in the kernel's neighbour table for addr, if the entry was confirmed
// recently or is permanent; nil otherwise.
func (h *Handle) Neighbour(addr netip.Addr) (net.HardwareAddr, error) {
	list, err := h.h.NeighList(0, unix.AF_INET)
	if err != nil {
		return nil, fmt.Errorf("list neighbours: %w", err)
	}
	for _, n := range list {
		if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap() == addr && n.State&(netlink.NUD_REACHABLE|netlink.NUD_PERMANENT) != 0 {
			return n.HardwareAddr, nil
		}
	}
	return nil, nil
}

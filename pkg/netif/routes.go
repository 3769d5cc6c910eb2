package netif

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Route is an IPv4 route of the main table.
type Route struct {
	// Destination is 0.0.0.0/0 for a default route.
	Destination netip.Prefix
	// Gateway is invalid for a route to the link itself.
	Gateway netip.Addr
	// Index is the index of the interface.
	Index int
	// Metric is the priority: the route with the lowest metric is used.
	Metric int
}

// Routes lists the unicast IPv4 routes of the main table.
func (h *Handle) Routes() ([]Route, error) {
	list, err := h.h.RouteListFiltered(unix.AF_INET, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var out []Route
	for _, r := range list {
		if r.Type != unix.RTN_UNICAST {
			continue
		}
		route := Route{Destination: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Index: r.LinkIndex, Metric: r.Priority}
		if r.Dst != nil {
			ip, ok := netip.AddrFromSlice(r.Dst.IP)
			if !ok {
				return nil, fmt.Errorf("list routes: unreadable destination %v", r.Dst)
			}
			bits, _ := r.Dst.Mask.Size()
			route.Destination = netip.PrefixFrom(ip.Unmap(), bits)
		}
		hops := r.MultiPath
		if len(hops) == 0 {
			hops = []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw}}
		}
		for _, hop := range hops {
			one := route
			one.Index = hop.LinkIndex
			if gw, ok := netip.AddrFromSlice(hop.Gw); ok {
				one.Gateway = gw.Unmap()
			}
			out = append(out, one)
		}
	}
	return out, nil
}

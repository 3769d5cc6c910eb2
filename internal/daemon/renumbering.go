package daemon

import (
	"net/netip"
	"slices"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/netif"
)

// renumberedAfter is how long an interface has to have another network in place of the VIP's before that
// counts as intended. Until then, a node that has the VIP's subnet holds the VIP: programs that
// configure a network, and DHCP, may need some seconds to bring it back.
const renumberedAfter = 10 * time.Second

// renumbering tells an interface that was given another network from one that lost the VIP's. Only a
// configured interface is used outside of the VIP's subnet.
type renumbering struct {
	networks []netip.Prefix   // of the interface when it last had the VIP's subnet
	since    boottime.Instant // when it was first seen with another network, and without the VIP's; 0 for never
}

// had takes in the addresses of the interface while it has the VIP's subnet.
func (r *renumbering) had(on []netif.Address) { *r = renumbering{networks: networksOf(on)} }

// renumbered tells whether the interface has had another network for renumberedAfter.
func (r *renumbering) renumbered(on []netif.Address, now boottime.Instant) bool {
	another := slices.ContainsFunc(networksOf(on), func(p netip.Prefix) bool { return !slices.Contains(r.networks, p) })
	switch {
	case !another:
		r.since = 0
	case r.since == 0:
		r.since = now
	}
	return another && now.Sub(r.since) >= renumberedAfter
}

// networksOf returns the IPv4 networks of an interface's own addresses.
func networksOf(on []netif.Address) (all []netip.Prefix) {
	for _, a := range on {
		if a.Global && !a.Ours && !a.Prefix.IsSingleIP() && a.Prefix.Addr().Is4() {
			all = append(all, a.Prefix.Masked())
		}
	}
	return all
}

package daemon

import (
	"fmt"
	"net/netip"

	"github.com/vipd-io/vipd/internal/config"
)

// GroupSpec configures a group: addresses that one node holds together, by one Lease.
type GroupSpec struct {
	// Addresses has at least one element.
	Addresses []netip.Addr
	// Interface is the interface of the addresses, "" for the one whose subnet contains the first
	// address.
	Interface string
	// Namespace and Lease name the Lease.
	Namespace, Lease string
}

// controlPlane returns the group of the control plane, the only one of `vipd run`.
func controlPlane(c config.Config) GroupSpec {
	return GroupSpec{Addresses: c.Addresses, Interface: c.Interface, Namespace: c.LeaseNamespace, Lease: c.LeaseName}
}

// virtual returns the addresses of all groups.
func virtual(groups []GroupSpec) (out []netip.Addr) {
	for _, g := range groups {
		out = append(out, g.Addresses...)
	}
	return out
}

// checkGroups returns an error for groups that would stand in each other's way.
func checkGroups(groups []GroupSpec) error {
	addresses, leases := make(map[netip.Addr]bool), make(map[[2]string]bool)
	for _, g := range groups {
		if len(g.Addresses) == 0 {
			return fmt.Errorf("group of lease %s/%s: no address", g.Namespace, g.Lease)
		}
		for _, a := range g.Addresses {
			if addresses[a] {
				return fmt.Errorf("group of lease %s/%s: address %s twice", g.Namespace, g.Lease, a)
			}
			addresses[a] = true
		}
		lease := [2]string{g.Namespace, g.Lease}
		if leases[lease] {
			return fmt.Errorf("two groups with lease %s/%s", g.Namespace, g.Lease)
		}
		leases[lease] = true
	}
	return nil
}

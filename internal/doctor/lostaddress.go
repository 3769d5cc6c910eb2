package doctor

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
)

// A node that lost its own address in the subnet of the VIP looks like one with a VIP of another
// network. What tells is the state of before: of its vipd, of its Node object.

// lostAddress reports that this node had an address in the subnet of the VIP, or has none at all where
// vipd is to hold the VIP. lost is false if there is no sign of that.
func (in *Input) lostAddress(ctx context.Context) (out Finding, lost bool) {
	f := in.Facts
	l, known := f.vipLink()
	has := f.describeAddresses(l.Index)
	missing := in.missingInternalIPs(ctx)
	seen, addr := "", "ADDRESS"
	switch {
	case len(missing) > 0:
		addr = missing[0].String()
		seen = fmt.Sprintf("%s, the InternalIP of this node, is on no interface of this node any more, and the VIP %s is in no subnet of this node: %s", joinAddresses(missing), f.VIP, f.describeLinks())
	case known && f.Interface == "": // vipd selected the interface by its subnet
		seen = fmt.Sprintf("%s has no address in the subnet of the VIP %s any more; it has %s", l.Name, f.VIP, orNoAddress(has))
	case !f.hasAddress():
		return in.noAddress(), true
	case known && has == "":
		seen = fmt.Sprintf("%s, which vipd is configured to use, has no address, and the VIP %s is in no subnet of this node: %s", l.Name, f.VIP, f.describeLinks())
	default:
		return Finding{}, false
	}
	where := cmp.Or(l.Name, "INTERFACE")
	return Finding{Severity: Error, Kind: "lost", Seen: seen,
		Why: "the route of the subnet goes away with the address: no answer to hosts of the subnet leaves by that interface, so this node cannot serve the VIP. The VIP itself need not be wrong: this node lacks an address",
		Remedy: []string{"the address again, until the next reboot: ip address add " + addr + "/PREFIX dev " + where,
			"why did the address go? A lease of DHCP that ended, a profile that was changed: journalctl -b -u NetworkManager -u systemd-networkd | grep -i -e dhcp -e lease -e " + where,
			"AlmaLinux: nmcli device show " + where + "; nmcli device reapply " + where + "; Ubuntu: networkctl status " + where + "; networkctl reconfigure " + where}}, true
}

// noAddress reports a machine without any address.
func (in *Input) noAddress() Finding {
	return Finding{Severity: Error, Kind: "no address", Seen: fmt.Sprintf("this node has no IPv4 address: %s", in.Facts.describeLinks()),
		Why:    "without an address in the subnet of the VIP, this node neither answers hosts there nor reaches other networks. That says nothing about the VIP",
		Remedy: []string{"DHCP, or the configuration of cloud-init, has not brought an address: ip -4 -brief address; cloud-init status --long", "AlmaLinux: nmcli device status; Ubuntu: networkctl status"}}
}

// hasAddress reports whether this machine has an address of its own on a link to a network.
func (f Facts) hasAddress() bool {
	return slices.ContainsFunc(f.Addresses, func(a Address) bool {
		l, ok := f.link(a.Index)
		return ok && !l.Local && !a.ByVipd && a.Prefix.Addr() != f.VIP
	})
}

// missingInternalIPs returns the InternalIPs of this node's Node object if no interface has one of
// them. The result is empty if the cluster is not known.
func (in *Input) missingInternalIPs(ctx context.Context) (missing []netip.Addr) {
	c, err := in.cluster(ctx)
	if err != nil || c == nil {
		return nil
	}
	for _, m := range c.Nodes {
		if m.Name != in.Facts.NodeName {
			continue
		}
		for _, ip := range m.InternalIPs {
			if slices.ContainsFunc(in.Facts.Addresses, func(a Address) bool { return a.Prefix.Addr() == ip }) {
				return nil
			}
			if ip.Is4() && ip != in.Facts.VIP {
				missing = append(missing, ip)
			}
		}
	}
	return missing
}

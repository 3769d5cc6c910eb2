package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The checks of this machine's own network. They look at Facts alone.

const everywhere = Node | Worker | Preflight

var noDefaultRoute = Check{ID: "D01", Title: "default route", Modes: everywhere, Cheap: true, Look: func(ctx context.Context, c *Case) ([]Finding, error) {
	if len(c.Facts.defaults()) > 0 {
		return nil, nil
	}
	where := c.Facts.interfaces()
	f := Finding{Severity: Error, Seen: fmt.Sprintf("there is no default route; this node has %s, and nothing leads beyond that", where),
		Why: "kubeadm refuses to start (cannot use \"0.0.0.0\" as the bind address), images cannot be pulled, and hosts outside of these subnets, such as a management cluster, " +
			"get no answer from this node. The VIP itself does not need it: hosts in its own subnet reach it",
		Mend: []string{
			"on this node, until the next reboot: ip route add default via GATEWAY dev " + likelyName(c.Facts),
			"for good, with Cluster API and in-cluster IPAM: the pool has no gateway, or had none when this machine was made:",
			`kubectl -n NAMESPACE patch inclusterippool POOL --type=merge -p '{"spec":{"gateway":"GATEWAY"}}'`,
			"then replace the machines, as what was handed out does not change: clusterctl alpha rollout restart kubeadmcontrolplane/NAME -n NAMESPACE",
			"(a rollout waits until the management cluster reaches the VIP; if it never did, see: vipd doctor explain D01)",
		}}
	c.blame(ctx, &f)
	return []Finding{f}, nil
}}

// likelyName is the interface that a default route would be on: that of the VIP, or
// the first one.
func likelyName(f Facts) string {
	if l, ok := f.vipLink(); ok {
		return l.Name
	}
	for _, l := range f.Links {
		if !l.Loopback {
			return l.Name
		}
	}
	return "INTERFACE"
}

// within tells whether an interface has a subnet with addr in it.
func (f Facts) within(addr netip.Addr, index int) bool {
	return slices.ContainsFunc(f.Addresses, func(a Address) bool {
		return a.Index == index && a.Prefix.Contains(addr) && !a.Prefix.IsSingleIP()
	})
}

func (f Facts) onLink(addr netip.Addr, index int) bool {
	if f.within(addr, index) {
		return true
	}
	for _, r := range f.Routes {
		if r.Index == index && !r.Gateway.IsValid() && r.Destination.Bits() > 0 && r.Destination.Contains(addr) {
			return true // a route says that it is there
		}
	}
	return false
}

func orNone(s string) string {
	if s == "" {
		return "no address"
	}
	return s
}

var severalDefaults = Check{ID: "D04", Title: "one default route", Modes: everywhere, Cheap: true, Look: func(_ context.Context, c *Case) ([]Finding, error) {
	d := c.Facts.defaults()
	if len(d) < 2 || d[0].Metric != d[1].Metric || d[0].Index == d[1].Index {
		return nil, nil
	}
	return []Finding{{Severity: Warning,
		Seen: fmt.Sprintf("two default routes have the same metric %d: by %s on %s, by %s on %s", d[0].Metric, d[0].Gateway, c.Facts.name(d[0].Index), d[1].Gateway, c.Facts.name(d[1].Index)),
		Why:  "which of them is taken is chance: kubeadm and kubelet may take the node's address from one interface and send by the other, and answers to clients of the VIP leave by it",
		Mend: []string{"keep one, best that of the VIP's interface; on the other one:",
			"Ubuntu, in its file under /etc/netplan: dhcp4-overrides: {use-routes: false}; then netplan try",
			"AlmaLinux: nmcli connection modify PROFILE ipv4.never-default yes && nmcli device reapply INTERFACE",
			"Cluster API: network.devices[].dhcp4Overrides.useRoutes: \"false\" in the VSphereMachineTemplate, or no gateway in its pool"}}}, nil
}}

var noSuchInterface = Check{ID: "D05", Title: "configured interface", Modes: Node | Preflight, Cheap: true, Look: func(_ context.Context, c *Case) ([]Finding, error) {
	if _, ok := c.Facts.vipLink(); ok || c.Facts.Interface == "" {
		return nil, nil
	}
	return []Finding{{Severity: Error, Seen: fmt.Sprintf("there is no interface %q; this node has %s", c.Facts.Interface, c.Facts.interfaces()),
		Why: "vipd waits for the interface and holds nothing until it is there. CAPV names interfaces eth0, eth1, ... unless devices[].deviceName is set",
		Mend: []string{"leave the setting out (--interface, VIPD_INTERFACE, vip_interface): vipd takes the interface whose subnet holds the VIP",
			"or set network.devices[].deviceName in the VSphereMachineTemplate"}}}, nil
}}

var noCarrier = Check{ID: "D06", Title: "carrier", Modes: everywhere, Cheap: true, Look: func(_ context.Context, c *Case) ([]Finding, error) {
	l, ok := c.Facts.vipLink()
	if !ok || l.Up {
		return nil, nil
	}
	return []Finding{{Severity: Error, Seen: l.Name + " is down or has no carrier", Why: "nothing is sent or heard on it: neither the VIP nor this node can be reached there",
		Mend: []string{"see which: ip -brief link show " + l.Name + " (NO-CARRIER: it is outside of the node)",
			"outside, in vSphere: the network adapter is \"Connected\", and its port group exists on the VM's host", "on the node: ip link set " + l.Name + " up"}}}, nil
}}

var vipOffSubnet = Check{ID: "D07", Title: "VIP in a subnet of the node", Modes: Node | Preflight, Cheap: true, Look: func(_ context.Context, c *Case) ([]Finding, error) {
	if _, ok := c.Facts.subnet(c.Facts.VIP); ok || c.Facts.special() != "" {
		return nil, nil
	}
	return []Finding{{Severity: Error, Seen: fmt.Sprintf("the VIP %s is in none of this node's subnets: %s", c.Facts.VIP, c.Facts.interfaces()),
		Why: "ARP does not pass a router: no host will ask on this link for an address of another subnet, so no client ever reaches it here",
		Mend: []string{"is the node's prefix as it should be? A /32 or /25 from the pool is wrong in a /24: see D03",
			"else choose a VIP in the subnet that all control-plane nodes have in common, outside of what DHCP and IPAM hand out"}}}, nil
}}

// special says in what way the VIP is no address of its own.
func (f Facts) special() string {
	for _, a := range f.Addresses {
		p := a.Prefix.Masked()
		switch {
		case a.Prefix.Addr() == f.VIP && !a.Ours && !a.Prefix.IsSingleIP():
			return fmt.Sprintf("this node's own address on %s (%s)", f.name(a.Index), a.Prefix)
		case p.Bits() < 31 && p.Addr() == f.VIP:
			return "the address of the network " + p.String()
		case p.Bits() < 31 && broadcast(p) == f.VIP:
			return "the broadcast address of " + p.String()
		}
	}
	for _, r := range f.Routes {
		if r.Gateway == f.VIP {
			return "the gateway of " + f.name(r.Index)
		}
	}
	return ""
}

// broadcast is the last address of an IPv4 prefix.
func broadcast(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(b)
}

var vipIsSpecial = Check{ID: "D08", Title: "VIP of its own", Modes: everywhere, Cheap: true, Look: func(_ context.Context, c *Case) ([]Finding, error) {
	what := c.Facts.special()
	if what == "" {
		return nil, nil
	}
	return []Finding{{Severity: Error, Seen: fmt.Sprintf("the VIP %s is %s", c.Facts.VIP, what), Why: "a VIP must be an address that no host has of its own: it moves from node to node",
		Mend: []string{"was it added by hand? Then take it out of the profile (nmtui, netplan), and leave it to vipd",
			"else choose another VIP, in the same subnet; exclude it from DHCP and from IPAM pools (spec.excludedAddresses)"}}}, nil
}}

var orphanedVIP = Check{ID: "D10", Title: "VIP left behind", Modes: Node, Look: func(_ context.Context, c *Case) ([]Finding, error) {
	f := c.Facts
	if !f.Asked {
		return c.leftBehind()
	}
	if !f.LeaseKnown || f.Holder || f.LeaseHolder == "" || f.LeaseHolder == f.Self {
		return nil, nil
	}
	for _, a := range f.Addresses {
		if a.Prefix.Addr() == f.VIP && a.Prefix.IsSingleIP() {
			return []Finding{{Severity: Error, Seen: fmt.Sprintf("%s is on %s of this node, and %s holds the lease", a.Prefix, f.name(a.Index), f.LeaseHolder),
				Why: "two nodes have the address: clients may reach one or the other",
				Mend: []string{"vipd takes it away by itself once it has read the lease: see whether this lasts, and its log: crictl logs $(crictl ps -aq --name vipd | head -n 1)",
					"if it lasts, and `vipd status` on " + f.LeaseHolder + " says that it holds the VIP:",
					fmt.Sprintf("ip address delete %s dev %s", a.Prefix, f.name(a.Index))}}}, nil
		}
	}
	return nil, nil
}}

// leftBehind looks for a VIP on a node whose vipd does not answer. One that a vipd put
// there ends by itself, and may be held by one whose status is off.
func (c *Case) leftBehind() ([]Finding, error) {
	kubeVip, err := c.Questions.KubeVip()
	if err != nil || kubeVip != "" { // D25 tells of it
		return nil, err
	}
	for _, a := range c.Facts.Addresses {
		if a.Prefix.Addr() == c.Facts.VIP && a.Prefix.IsSingleIP() && !a.Ours {
			on := c.Facts.name(a.Index)
			return []Finding{{Severity: Error, Mark: "no vipd", Seen: fmt.Sprintf("%s is on %s of this node, no vipd answers here, and no vipd put it there", a.Prefix, on),
				Why:  "nothing takes it away when another node takes the VIP: then two have it. A kube-vip that was killed leaves it so, and a person may have added it",
				Mend: []string{"who holds the lease? kubectl -n kube-system get lease plndr-cp-lock", fmt.Sprintf("if that is not this node: ip address delete %s dev %s", a.Prefix, on)}}}, nil
		}
	}
	return nil, nil
}

var strictSysctls = Check{ID: "D21", Title: "kernel settings", Modes: Node | Preflight, Cheap: true, Look: func(_ context.Context, c *Case) ([]Finding, error) {
	l, ok := c.Facts.vipLink()
	if !ok {
		return nil, nil
	}
	var out []Finding
	ignore, err := c.strictest("arp_ignore", l.Name)
	if err != nil {
		return nil, err
	}
	// 2 is answered by where the asker is: one in a subnet that the interface has
	// together with the VIP gets an answer (net/ipv4/devinet.c, confirm_addr_indev).
	// What is between 2 and 8 lets the VIP be answered for.
	if ignore == 8 || ignore == 2 && !c.Facts.within(c.Facts.VIP, l.Index) {
		out = append(out, Finding{Severity: Error, Mark: "arp_ignore", Seen: fmt.Sprintf("net.ipv4.conf.%s.arp_ignore is %d", l.Name, ignore),
			Why: "this node does not answer ARP for the VIP: with 8 for no address, and with 2 only to hosts in a subnet of this interface that has the VIP, too",
			Mend: []string{fmt.Sprintf("at once: sysctl -w net/ipv4/conf/all/arp_ignore=1 net/ipv4/conf/%s/arp_ignore=1 (not 0: IPVS with strictARP needs 1)", l.Name),
				"for good, where it was set: grep -rn arp_ignore /etc/sysctl.conf /etc/sysctl.d /usr/lib/sysctl.d"}})
	}
	filter, err := c.strictest("rp_filter", l.Name)
	if err != nil {
		return out, err
	}
	if d := c.Facts.defaults(); filter == 1 && len(d) > 0 && d[0].Index != l.Index {
		out = append(out, Finding{Severity: Warning, Mark: "rp_filter", Seen: fmt.Sprintf("net.ipv4.conf.%s.rp_filter is 1, and the default route is on %s", l.Name, c.Facts.name(d[0].Index)),
			Why: "clients beyond this subnet are dropped as they come in: the way back to them is by another interface",
			Mend: []string{fmt.Sprintf("at once: sysctl -w net/ipv4/conf/%s/rp_filter=2", l.Name),
				fmt.Sprintf("for good, in /etc/sysctl.d/99-vip.conf: net/ipv4/conf/%s/rp_filter = 2", l.Name), "or have the VIP on the interface of the default route"}})
	}
	return out, nil
}}

// strictest is the higher of an interface's setting and that of all, which is what
// the kernel goes by (Documentation/networking/ip-sysctl.rst).
func (c *Case) strictest(setting, link string) (int, error) {
	worst := 0
	for _, of := range []string{"all", link} {
		text, err := c.Questions.Sysctl("net/ipv4/conf/" + of + "/" + setting)
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", setting, err)
		}
		n := 0
		if _, err := fmt.Sscan(strings.TrimSpace(text), &n); err != nil {
			return 0, fmt.Errorf("read %s: %w", setting, err)
		}
		worst = max(worst, n)
	}
	return worst, nil
}

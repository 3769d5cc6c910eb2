package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The checks of this machine's network. Most of them use Facts alone.

const everywhere = Node | Worker | Preflight

var noDefaultRoute = Check{ID: "D01", Title: "default route", Modes: everywhere, Cheap: true, Run: func(ctx context.Context, in *Input) ([]Finding, error) {
	if len(in.Facts.defaultRoutes()) > 0 {
		return nil, nil
	}
	where := in.Facts.describeLinks()
	f := Finding{Severity: Error, Seen: fmt.Sprintf("there is no default route; this node has %s, and no route to other networks", where),
		Why: "kubeadm does not start (cannot use \"0.0.0.0\" as the bind address), images cannot be pulled, and hosts outside of these subnets, such as a management cluster, " +
			"get no answer from this node. The VIP itself needs no default route: hosts in the VIP's subnet reach the VIP",
		Remedy: []string{
			"on this node, until the next reboot: ip route add default via GATEWAY dev " + defaultRouteLink(in.Facts),
			"permanently, with Cluster API and in-cluster IPAM: the pool has no gateway, or had none when this machine was created:",
			`kubectl -n NAMESPACE patch inclusterippool POOL --type=merge -p '{"spec":{"gateway":"GATEWAY"}}'`,
			"then replace the machines, because existing allocations do not change: clusterctl alpha rollout restart kubeadmcontrolplane/NAME -n NAMESPACE",
			"(a rollout waits until the management cluster reaches the VIP; if it never reached the VIP, see: vipd doctor explain D01)",
		}}
	in.explainMissingRoute(ctx, &f)
	return []Finding{f}, nil
}}

// defaultRouteLink is the likely interface of a default route: the interface of the VIP, or the
// first one.
func defaultRouteLink(f Facts) string {
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

// within reports whether an interface has a subnet that contains addr.
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
			return true // by an onlink route
		}
	}
	return false
}

func orNoAddress(s string) string {
	if s == "" {
		return "no address"
	}
	return s
}

var severalDefaults = Check{ID: "D04", Title: "one default route", Modes: everywhere, Cheap: true, Run: func(_ context.Context, in *Input) ([]Finding, error) {
	d := in.Facts.defaultRoutes()
	if len(d) < 2 || d[0].Metric != d[1].Metric || d[0].Index == d[1].Index {
		return nil, nil
	}
	return []Finding{{Severity: Warning,
		Seen: fmt.Sprintf("two default routes have the same metric %d: by %s on %s, by %s on %s", d[0].Metric, d[0].Gateway, in.Facts.linkName(d[0].Index), d[1].Gateway, in.Facts.linkName(d[1].Index)),
		Why:  "the kernel uses either of them: kubeadm and kubelet may take the node's address from one interface and send by the other, as may answers to clients of the VIP",
		Remedy: []string{"keep one, preferably on the VIP's interface; on the other interface:",
			"Ubuntu, in its file under /etc/netplan: dhcp4-overrides: {use-routes: false}; then netplan try",
			"AlmaLinux: nmcli connection modify PROFILE ipv4.never-default yes && nmcli device reapply INTERFACE",
			"Cluster API: network.devices[].dhcp4Overrides.useRoutes: \"false\" in the VSphereMachineTemplate, or no gateway in its pool"}}}, nil
}}

var noSuchInterface = Check{ID: "D05", Title: "configured interface", Modes: Node | Preflight, Cheap: true, Run: func(_ context.Context, in *Input) ([]Finding, error) {
	if _, ok := in.Facts.vipLink(); ok || in.Facts.Interface == "" {
		return nil, nil
	}
	return []Finding{{Severity: Error, Seen: fmt.Sprintf("there is no interface %q; this node has %s", in.Facts.Interface, in.Facts.describeLinks()),
		Why: "vipd waits for the interface and does not hold the VIP until the interface exists. CAPV names interfaces eth0, eth1, ... unless devices[].deviceName is set",
		Remedy: []string{"remove the setting (--interface, VIPD_INTERFACE, vip_interface): vipd then selects the interface whose subnet contains the VIP",
			"or set network.devices[].deviceName in the VSphereMachineTemplate"}}}, nil
}}

var noCarrier = Check{ID: "D06", Title: "carrier", Modes: everywhere, Cheap: true, Run: func(_ context.Context, in *Input) ([]Finding, error) {
	l, ok := in.Facts.vipLink()
	if ok && l.PortOf != "" {
		return []Finding{portFinding(in.Facts, l)}, nil
	}
	if ok && l.Up && l.Local && !l.Loopback {
		return []Finding{arpOff(l)}, nil
	}
	if !ok || l.Up {
		return nil, nil
	}
	return []Finding{{Severity: Error, Seen: l.Name + " is down or has no carrier", Why: "the interface neither sends nor receives: neither the VIP nor this node is reachable there",
		Remedy: []string{"see the state: ip -brief link show " + l.Name + " (NO-CARRIER: the cause is outside of the node)",
			"outside, in vSphere: check that the network adapter is \"Connected\", and that its port group exists on the VM's host", "on the node: ip link set " + l.Name + " up"}}}, nil
}}

// arpOff is about an interface without ARP: a dummy, or one on which somebody switched ARP off.
func arpOff(l Link) Finding {
	return Finding{Severity: Error, Kind: "arp off", Seen: "ARP is off on " + l.Name + " (NOARP)",
		Why: "the kernel neither asks for MACs nor answers for the VIP there: hosts that do not know this node's MAC yet do not reach the VIP or this node",
		Remedy: []string{"now: ip link set " + l.Name + " arp on", "permanently, in what switched ARP off: systemd-networkd: ARP=yes in [Link]; ifupdown and scripts: ip link set " + l.Name + " arp off",
			"a dummy interface (ip -details link show " + l.Name + ") leads nowhere: name another one with --interface, and give that one the subnet of the VIP"}}
}

// portFinding is about an interface that was made a port of another one, which vipd cannot follow.
func portFinding(f Facts, l Link) Finding {
	return Finding{Severity: Error, Kind: "port", Seen: fmt.Sprintf("%s is a port of %s, and no subnet of %s contains the VIP %s; this node has %s", l.Name, l.PortOf, l.PortOf, f.VIP, f.describeLinks()),
		Why: fmt.Sprintf("packets and ARP requests that arrive at %s go to %s: an address on %s is not answered there, and vipd does not hold the VIP", l.Name, l.PortOf, l.Name),
		Remedy: []string{fmt.Sprintf("give the node's address to %s, and remove it from %s: vipd then follows to %s", l.PortOf, l.Name, l.PortOf),
			"or remove the setting (--interface, VIPD_INTERFACE, vip_interface): vipd then selects the interface whose subnet contains the VIP",
			"or take the interface out of the bridge or bond: ip link set " + l.Name + " nomaster"}}
}

var vipOffSubnet = Check{ID: "D07", Title: "VIP in a subnet of the node", Modes: Node | Preflight, Cheap: true, Run: func(ctx context.Context, in *Input) ([]Finding, error) {
	if _, ok := in.Facts.subnet(in.Facts.VIP); ok || in.Facts.reservedAs() != "" || in.Facts.routed(in.Facts.VIP) {
		return nil, nil
	}
	if f, lost := in.lostAddress(ctx); lost {
		return []Finding{f}, nil
	}
	return []Finding{{Severity: Error, Seen: fmt.Sprintf("the VIP %s is in none of this node's subnets: %s", in.Facts.VIP, in.Facts.describeLinks()),
		Why: "ARP does not cross routers: no host sends ARP requests on this link for an address of another subnet, so no client reaches the VIP here",
		Remedy: []string{"is the node's prefix correct? A /32 or /25 from the pool is wrong in a /24: see D03", "has the node all of its addresses? DHCP or IPAM may not have answered: ip -4 -brief address",
			"otherwise choose a VIP in the subnet that all control-plane nodes share, outside of the ranges of DHCP and IPAM"}}}, nil
}}

// routed reports whether this machine reaches an address without a gateway: nodes in clouds have a /32 and
// a route to the subnet.
func (f Facts) routed(addr netip.Addr) bool {
	return slices.ContainsFunc(f.Links, func(l Link) bool { return !l.Local && f.onLink(addr, l.Index) })
}

// reservedAs describes the other use of the VIP's address, or returns "".
func (f Facts) reservedAs() string {
	for _, a := range f.Addresses {
		p := a.Prefix.Masked()
		switch {
		case f.ownerOf(a) == ownedByNode:
			return fmt.Sprintf("this node's own address on %s (%s%s)", f.linkName(a.Index), a.Prefix, f.beside(a))
		case p.Bits() < 31 && p.Addr() == f.VIP:
			return "the address of the network " + p.String()
		case p.Bits() < 31 && broadcast(p) == f.VIP:
			return "the broadcast address of " + p.String()
		}
	}
	for _, r := range f.Routes {
		if r.Gateway == f.VIP {
			return "the gateway of " + f.linkName(r.Index)
		}
	}
	return ""
}

// beside describes why a copy of the VIP with the prefix of a subnet is the node's own, although the
// interface has other addresses.
func (f Facts) beside(a Address) string {
	if others := f.describeAddresses(a.Index); others != "" && !a.Prefix.IsSingleIP() {
		return ", not left over by another VIP manager: it has a lifetime, is the only address in its subnet, or " + others + " is secondary to it"
	}
	return ""
}

// ownerOf determines the owner of a copy of the VIP, as vipd does (pkg/netif, Presence).
func (f Facts) ownerOf(a Address) owner {
	on, _ := f.link(a.Index)
	switch {
	case a.Prefix.Addr() != f.VIP:
		return notVIP
	case a.ByVipd:
		return ownedByVipd
	case on.Local && a.Prefix.IsSingleIP():
		return onLocalLink
	case a.Leftover:
		return leftover
	}
	return ownedByNode
}

// owner is the owner of a copy of the VIP.
type owner uint8

const (
	notVIP      owner = iota // the address is no copy of the VIP
	ownedByVipd              // vipd, by its protocol mark
	leftover                 // another VIP manager left the copy on the VIP's interface: vipd takes it over
	ownedByNode              // the node's own address
	onLocalLink              // another program's, on a local interface
)

// broadcast returns the last address of an IPv4 prefix.
func broadcast(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(b)
}

var vipReserved = Check{ID: "D08", Title: "VIP not in other use", Modes: everywhere, Cheap: true, Run: func(_ context.Context, in *Input) ([]Finding, error) {
	what := in.Facts.reservedAs()
	if what == "" {
		local, err := in.vipOnLocalLink()
		return append(in.Facts.leftOver(in.Mode), local...), err
	}
	return []Finding{{Severity: Error, Seen: fmt.Sprintf("the VIP %s is %s", in.Facts.VIP, what), Why: "a VIP moves from node to node, so no host may have the address as its own",
		Remedy: []string{"if the address was added by hand: remove it from the profile (nmtui, netplan); vipd manages the address",
			"otherwise choose another VIP in the same subnet; exclude the VIP from DHCP and from IPAM pools (spec.excludedAddresses)"}}}, nil
}}

// leftOver reports a copy of the VIP that another VIP manager left, or has. Whether such a copy has
// to go now is what D10 tells.
func (f Facts) leftOver(m Mode) []Finding {
	i := slices.IndexFunc(f.Addresses, func(a Address) bool { return f.ownerOf(a) == leftover })
	if i < 0 {
		return nil
	}
	a := f.Addresses[i]
	on := f.linkName(a.Index)
	out := Finding{Severity: Info, Kind: "leftover", Seen: fmt.Sprintf("the VIP is on %s as %s beside %s, without vipd's mark: another VIP manager (kube-vip, keepalived) left it there, or runs", on, a.Prefix, f.describeAddresses(a.Index)),
		Why: "this node answers for the VIP whoever holds it. vipd waits while a kube-vip manifest is on the node, takes the address over when this node takes the VIP, and removes it while another node holds the VIP",
		Remedy: []string{"stop the other VIP manager for good: remove its manifest, or systemctl disable --now keepalived",
			fmt.Sprintf("vipd removes the address; without vipd: ip address delete %s dev %s", a.Prefix, on)}}
	if m == Preflight {
		out.Severity = Warning
	}
	return []Finding{out}
}

// kubeProxyLink is the interface to which kube-proxy in IPVS mode adds the addresses of Services
// (pkg/proxy/ipvs).
const kubeProxyLink = "kube-ipvs0"

// vipOnLocalLink reports the VIP on a local interface. That is harmless unless this node
// answers ARP for the VIP on the VIP's network, which happens at any time.
func (in *Input) vipOnLocalLink() ([]Finding, error) {
	f := in.Facts
	i := slices.IndexFunc(f.Addresses, func(a Address) bool { return f.ownerOf(a) == onLocalLink })
	l, ok := f.vipLink()
	if i < 0 || !ok {
		return nil, nil
	}
	ignore, err := in.effectiveSysctl("arp_ignore", l.Name)
	if err != nil {
		return nil, err
	}
	out := localFinding(f.VIP, f.linkName(f.Addresses[i].Index), f.Addresses[i].Prefix)
	if slices.Contains([]int{1, 2, 8}, ignore) { // net/ipv4/arp.c, arp_ignore
		out.Why = "this is harmless for ARP: arp_ignore keeps this node from answering for that copy. vipd does not touch the copy, because vipd did not add it. " + out.Why
		return []Finding{out}, nil
	}
	out.Severity = Error
	out.Seen += fmt.Sprintf(", and arp_ignore of %s is %d", l.Name, ignore)
	out.Why = "this node answers ARP for the VIP at any time, even while another node is the holder: clients reach this node or the holder at random. vipd does not remove the address, because vipd did not add it. " + out.Why
	out.Remedy = append([]string{fmt.Sprintf("at once: sysctl -w net/ipv4/conf/all/arp_ignore=1 net/ipv4/conf/%s/arp_ignore=1", l.Name)}, out.Remedy...)
	return []Finding{out}, nil
}

// localFinding says who has the VIP on a local interface, and how it is removed.
func localFinding(vip netip.Addr, on string, a netip.Prefix) Finding {
	out := Finding{Severity: Info, Kind: "local"}
	switch on {
	case kubeProxyLink:
		out.Seen = fmt.Sprintf("the VIP %s is also on %s, added by kube-proxy in IPVS mode", vip, on)
		out.Why = "kube-proxy adds the external addresses of Services to kube-ipvs0 of every node: a Service with the VIP among its addresses takes over the Service's ports from the API server"
		out.Remedy = []string{"permanently against ARP answers: ipvs.strictARP: true in the ConfigMap kube-system/kube-proxy",
			"find a Service with the VIP: kubectl get services -A | grep " + vip.String(),
			"remove the VIP from the Service (spec.externalIPs, or the pool of the load balancer): kube-proxy then removes the VIP from kube-ipvs0"}
	default:
		out.Seen = fmt.Sprintf("the VIP %s is also on %s, added by another program than vipd", vip, on)
		out.Why = "this node's own programs reach the VIP on this node, not at the holder. Load balancers with direct server return (LVS) need such an address; a VIP of vipd does not"
		out.Remedy = []string{"find what adds the address: grep -r " + vip.String() + " /etc",
			fmt.Sprintf("remove the address there, and then here: ip address delete %s dev %s", a, on)}
	}
	return out
}

var orphanedVIP = Check{ID: "D10", Title: "leftover VIP", Modes: Node, Run: func(_ context.Context, in *Input) ([]Finding, error) {
	f := in.Facts
	if !f.VipdAnswered {
		return in.leftoverVIP()
	}
	if !f.LeaseKnown || f.Holder || f.LeaseHolder == "" || f.LeaseHolder == f.NodeName {
		return nil, nil
	}
	for _, a := range f.Addresses {
		if who := f.ownerOf(a); who == ownedByVipd || who == leftover {
			return []Finding{{Severity: Error, Seen: fmt.Sprintf("%s is on %s of this node, and %s holds the Lease", a.Prefix, f.linkName(a.Index), f.LeaseHolder),
				Why: "two nodes have the address: clients may reach either of them",
				Remedy: []string{"vipd removes the address after reading the Lease: run the doctor again, and see vipd's log: crictl logs $(crictl ps -aq --name vipd | head -n 1)",
					"if the address stays, and `vipd status` on " + f.LeaseHolder + " says that " + f.LeaseHolder + " holds the VIP:",
					fmt.Sprintf("ip address delete %s dev %s", a.Prefix, f.linkName(a.Index))}}}, nil
		}
	}
	return nil, nil
}}

// leftoverVIP checks for the VIP on a node whose vipd does not answer. An address that a vipd
// added expires by itself, and may belong to a vipd with its status server off.
func (in *Input) leftoverVIP() ([]Finding, error) {
	kubeVip, err := in.Queries.KubeVip()
	if err != nil || kubeVip != "" { // D25 reports kube-vip
		return nil, err
	}
	for _, a := range in.Facts.Addresses {
		if in.Facts.ownerOf(a) == leftover {
			on := in.Facts.linkName(a.Index)
			return []Finding{{Severity: Error, Kind: "no vipd", Seen: fmt.Sprintf("%s is on %s of this node, no vipd answers here, and no vipd added the address", a.Prefix, on),
				Why:    "no program removes the address when another node takes the VIP: then two nodes have the VIP. A killed kube-vip leaves the address, or a person added it",
				Remedy: []string{"which node holds the Lease? kubectl -n kube-system get lease plndr-cp-lock", fmt.Sprintf("if that is not this node: ip address delete %s dev %s", a.Prefix, on)}}}, nil
		}
	}
	return nil, nil
}

var kernelSettings = Check{ID: "D21", Title: "kernel settings", Modes: Node | Preflight, Cheap: true, Run: func(_ context.Context, in *Input) ([]Finding, error) {
	l, ok := in.Facts.vipLink()
	if !ok {
		return nil, nil
	}
	var out []Finding
	ignore, err := in.effectiveSysctl("arp_ignore", l.Name)
	if err != nil {
		return nil, err
	}
	// With 2, the kernel answers only if sender and VIP are in one subnet of the interface
	// (net/ipv4/devinet.c, confirm_addr_indev). Values between 2 and 8 allow answers for the
	// VIP.
	if ignore == 8 || ignore == 2 && !in.Facts.within(in.Facts.VIP, l.Index) {
		out = append(out, Finding{Severity: Error, Kind: "arp_ignore", Seen: fmt.Sprintf("net.ipv4.conf.%s.arp_ignore is %d", l.Name, ignore),
			Why: "this node does not answer ARP for the VIP: with 8 for no address, and with 2 only to hosts in a subnet of this interface that also contains the VIP",
			Remedy: []string{fmt.Sprintf("at once: sysctl -w net/ipv4/conf/all/arp_ignore=1 net/ipv4/conf/%s/arp_ignore=1 (not 0: IPVS with strictARP needs 1)", l.Name),
				"permanently, in the file that sets it: grep -rn arp_ignore /etc/sysctl.conf /etc/sysctl.d /usr/lib/sysctl.d"}})
	}
	filter, err := in.effectiveSysctl("rp_filter", l.Name)
	if err != nil {
		return out, err
	}
	if d := in.Facts.defaultRoutes(); filter == 1 && len(d) > 0 && d[0].Index != l.Index {
		out = append(out, Finding{Severity: Warning, Kind: "rp_filter", Seen: fmt.Sprintf("net.ipv4.conf.%s.rp_filter is 1, and the default route is on %s", l.Name, in.Facts.linkName(d[0].Index)),
			Why: "the kernel drops packets of clients outside of this subnet: the return route uses another interface",
			Remedy: []string{fmt.Sprintf("at once: sysctl -w net/ipv4/conf/%s/rp_filter=2", l.Name),
				fmt.Sprintf("permanently, in /etc/sysctl.d/99-vip.conf: net/ipv4/conf/%s/rp_filter = 2", l.Name), "or use a VIP in the subnet of the default route's interface"}})
	}
	return out, nil
}}

// effectiveSysctl returns the maximum of an interface's setting and the setting for all
// interfaces, which the kernel uses (Documentation/networking/ip-sysctl.rst).
func (in *Input) effectiveSysctl(setting, link string) (int, error) {
	worst := 0
	for _, of := range []string{"all", link} {
		text, err := in.Queries.Sysctl("net/ipv4/conf/" + of + "/" + setting)
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

package doctor

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// A machine that answers ARP for every address, such as a router with proxy ARP or the network of a
// cloud, answers for the VIP as well, and does not have the VIP.

// proxies returns the MACs that answer the ARP requests of this machine for addresses that nobody has
// (proxyFor). The requests are sent once for all checks, and only if a check needs the result.
func (in *Input) proxies(ctx context.Context, l Link) ([]net.HardwareAddr, error) {
	in.proxiesOnce.Do(func() {
		own, _ := in.nobodys(l)
		in.proxyMACs, in.proxiesErr = in.askForNobody(ctx, l, own)
	})
	return in.proxyMACs, in.proxiesErr
}

// askForNobody asks for proxyFor, with the address of a sender, or by probes if it is unspecified.
func (in *Input) askForNobody(ctx context.Context, l Link, sender netip.Addr) ([]net.HardwareAddr, error) {
	_, addrs := in.nobodys(l)
	if len(addrs) == 0 {
		return nil, nil // too small a subnet
	}
	macs, err := in.Queries.AskARPAs(ctx, l, sender, addrs)
	if err != nil {
		return nil, fmt.Errorf("ask %s for addresses that nobody has: %w", l.Name, err)
	}
	return macs, nil
}

// nobodys returns addresses of the VIP's subnet that this machine knows no use of, the same ones for
// all checks, and this machine's own address there.
func (in *Input) nobodys(l Link) (own netip.Addr, out []netip.Addr) {
	f := in.Facts
	subnet, ok := f.subnet(f.VIP)
	if !ok || subnet.Index != l.Index || in.Queries.Nobodys == nil {
		return own, nil
	}
	in.nobodysOnce.Do(func() {
		in.proxyFor, _ = in.Queries.Nobodys(subnet.Prefix.Masked(), func(a netip.Addr) bool {
			return a == f.VIP || slices.ContainsFunc(f.Addresses, func(o Address) bool { return o.Prefix.Addr() == a }) ||
				slices.ContainsFunc(f.Routes, func(r Route) bool { return r.Gateway == a })
		})
	})
	return subnet.Prefix.Addr(), in.proxyFor
}

// withoutProxies separates the machines that answer probes for every address from the others. A
// Linux machine with proxy ARP answers probes only for its own addresses.
func (in *Input) withoutProxies(ctx context.Context, l Link, macs []net.HardwareAddr) (owners, proxies []net.HardwareAddr, err error) {
	all, err := in.askForNobody(ctx, l, netip.IPv4Unspecified())
	for _, m := range macs {
		if slices.ContainsFunc(all, func(p net.HardwareAddr) bool { return p.String() == m.String() }) {
			proxies = append(proxies, m)
		} else {
			owners = append(owners, m)
		}
	}
	return owners, proxies, err
}

// answersAll reports machines that answer for every address.
func (in *Input) answersAll(proxies []net.HardwareAddr) Finding {
	return Finding{Severity: Warning, Kind: "proxy", Seen: fmt.Sprintf("%s answers ARP for %s, and for %s, too, which nobody has: it answers for every address (proxy ARP, or the network of a cloud)", joinMACs(proxies), in.Facts.VIP, joinAddresses(in.proxyFor)),
		Why: "it is no second owner of the VIP. Hosts may send to it and not to the holder: they reach the VIP only if it forwards their packets to the holder, and a move of the VIP may take them longer to notice",
		Remedy: []string{"nothing, if hosts on this link reach the VIP: curl -k --max-time 5 https://" + netip.AddrPortFrom(in.Facts.VIP, in.Facts.Port).String() + "/livez",
			"a router with proxy ARP: switch it off on this network (Linux: net.ipv4.conf.INTERFACE.proxy_arp=0; others: no ip proxy-arp, no local-proxy-arp)",
			"a cloud whose network answers ARP itself does not follow announcements: use its own load balancer or floating address for the control plane"}}
}

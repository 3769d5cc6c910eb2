package doctor

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
)

// A machine that answers ARP for every address, such as a router with proxy ARP or the network of a
// cloud, answers for the VIP as well, and does not have the VIP.

// nobodys is how many addresses are asked for: a machine with one more address of its own may be
// asked for that one by chance.
const nobodys = 2

// proxies returns the MACs that answer ARP on a link for addresses that nobody has (proxyFor). The
// questions are sent once for all checks, and only if a check needs the result.
func (in *Input) proxies(ctx context.Context, l Link) ([]net.HardwareAddr, error) {
	in.proxiesOnce.Do(func() {
		own, addrs := in.Facts.nobodys(l)
		if len(addrs) < nobodys || in.Queries.AskARPAs == nil {
			return // too small a subnet
		}
		in.proxyFor = addrs
		if in.proxyMACs, in.proxiesErr = in.Queries.AskARPAs(ctx, l, own, addrs); in.proxiesErr != nil {
			in.proxiesErr = fmt.Errorf("ask %s for addresses that nobody has: %w", l.Name, in.proxiesErr)
		}
	})
	return in.proxyMACs, in.proxiesErr
}

// nobodys returns addresses of the VIP's subnet that this machine knows no use of, by chance, and
// this machine's own address there.
func (f Facts) nobodys(l Link) (own netip.Addr, out []netip.Addr) {
	subnet, ok := f.subnet(f.VIP)
	if !ok || subnet.Index != l.Index {
		return own, nil
	}
	used := func(a netip.Addr) bool {
		return a == f.VIP || a == subnet.Prefix.Masked().Addr() || a == broadcast(subnet.Prefix.Masked()) || slices.Contains(out, a) ||
			slices.ContainsFunc(f.Addresses, func(o Address) bool { return o.Prefix.Addr() == a }) ||
			slices.ContainsFunc(f.Routes, func(r Route) bool { return r.Gateway == a })
	}
	size := uint64(1) << (32 - subnet.Prefix.Bits())
	for range 16 { // a subnet of eight addresses has two that are free
		if a := offset(subnet.Prefix.Masked().Addr(), rand.Uint64N(size)); len(out) < nobodys && !used(a) { //nolint:gosec // no secret
			out = append(out, a)
		}
	}
	return subnet.Prefix.Addr(), out
}

// offset returns the n-th address after one.
func offset(a netip.Addr, n uint64) netip.Addr {
	b := a.As4()
	sum := uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])
	sum += n
	return netip.AddrFrom4([4]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
}

// withoutProxies separates the machines that answer for every address from the others.
func (in *Input) withoutProxies(ctx context.Context, l Link, macs []net.HardwareAddr) (owners, proxies []net.HardwareAddr, err error) {
	all, err := in.proxies(ctx, l)
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

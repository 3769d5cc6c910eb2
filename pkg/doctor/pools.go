package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The checks of what hands out addresses: the IPAM objects of the management cluster.

// Pool is an InClusterIPPool or a GlobalInClusterIPPool.
type Pool struct {
	// Kind is the resource, as kubectl takes it; Namespace is "" for a global one.
	Kind, Namespace, Name string
	// Addresses and Excluded are addresses, ranges (a-b) and prefixes, as they stand there.
	Addresses, Excluded []string
	// Prefix is how long that of a machine is, in bits.
	Prefix int
	// Gateway is not valid if there is none.
	Gateway netip.Addr
	// Reuse is set if the pool says how long an address rests before it is given again;
	// ReuseKnown: this provider knows that setting.
	Reuse, ReuseKnown bool
}

// Handed is an address that was given to a machine: an IPAddress.
type Handed struct {
	Namespace, Name, Claim, Pool string
	Address                      netip.Addr
}

func (p Pool) name() string {
	if p.Namespace == "" {
		return p.Kind + " " + p.Name
	}
	return p.Kind + " " + p.Namespace + "/" + p.Name
}

// patch is how to change one of its fields.
func (p Pool) patch(spec string) string {
	in := ""
	if p.Namespace != "" {
		in = " -n " + p.Namespace
	}
	return fmt.Sprintf("kubectl%s patch %s %s --type=merge -p '{\"spec\":%s}'", in, p.Kind, p.Name, spec)
}

// span is a range of addresses, with both ends.
type span struct{ from, to netip.Addr }

// parseSpan reads an address, a range or a prefix.
func parseSpan(s string) (span, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return span{p.Masked().Addr(), last(p)}, nil
	}
	from, to, ok := strings.Cut(s, "-")
	if !ok {
		to = from
	}
	a, err := netip.ParseAddr(strings.TrimSpace(from))
	if err != nil {
		return span{}, fmt.Errorf("read %q: neither an address, nor a range, nor a prefix", s)
	}
	b, err := netip.ParseAddr(strings.TrimSpace(to))
	if err != nil || a.Is4() != b.Is4() {
		return span{}, fmt.Errorf("read %q: not a range", s)
	}
	return span{a, b}, nil
}

// last is the highest address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func (s span) contains(a netip.Addr) bool {
	return a.Is4() == s.from.Is4() && s.from.Compare(a) <= 0 && a.Compare(s.to) <= 0
}

// within tells whether an address is in one of several spans. What cannot be read, the
// provider refuses.
func within(list []string, a netip.Addr) bool {
	for _, text := range list {
		if s, err := parseSpan(text); err == nil && s.contains(a) {
			return true
		}
	}
	return false
}

// subnet is the one that a pool's machines are in, as its first address tells.
func (p Pool) subnet() (netip.Prefix, bool) {
	for _, text := range p.Addresses {
		s, err := parseSpan(text)
		if err != nil {
			continue
		}
		subnet, err := s.from.Prefix(p.Prefix)
		return subnet, err == nil
	}
	return netip.Prefix{}, false
}

var poolHandsOut = Check{ID: "D11", Title: "IP pools", Modes: Management, Look: func(_ context.Context, c *Case) ([]Finding, error) {
	m, vip := c.Facts.Management, c.Facts.VIP
	var out []Finding
	for _, h := range m.Handed {
		if h.Address == vip {
			out = append(out, Finding{Severity: Error, Mark: "handed out", Seen: fmt.Sprintf("the VIP %s was given to a machine: IPAddress %s/%s of pool %s, for claim %s", vip, h.Namespace, h.Name, h.Pool, h.Claim),
				Why:  "that machine and the holder of the VIP have the same address: clients reach one or the other",
				Mend: []string{"exclude the VIP from the pool, then replace the machine: the claim's owner leads to it:", fmt.Sprintf("kubectl -n %s get ipaddressclaim %s -o yaml", h.Namespace, h.Claim)}})
		}
	}
	for _, p := range m.Pools {
		out = append(out, p.judge(vip)...)
	}
	return out, m.Unread
}}

// judge looks at one pool.
func (p Pool) judge(vip netip.Addr) (out []Finding) {
	subnet, known := p.subnet()
	switch {
	case p.Gateway == vip:
		out = append(out, Finding{Severity: Error, Mark: "gateway", Seen: fmt.Sprintf("the VIP %s is the gateway of %s", vip, p.name()), Why: "two machines would have the address: the router and the holder",
			Mend: []string{"choose another VIP, or mend the gateway: " + p.patch(`{"gateway":"GATEWAY"}`)}})
	case within(p.Addresses, vip) && !within(p.Excluded, vip):
		out = append(out, Finding{Severity: Error, Mark: "contains", Seen: fmt.Sprintf("%s contains the VIP %s, and does not exclude it", p.name(), vip),
			Why: "the provider keeps back the gateway, and the subnet's first and last address, and no other: sooner or later a machine gets the VIP",
			Mend: []string{p.patch(fmt.Sprintf(`{"excludedAddresses":["%s"]}`, strings.Join(append(slices.Clone(p.Excluded), vip.String()), `","`))),
				"excludedAddresses, with a d: another spelling is dropped without a word. The patch replaces the list, and has what was in it"}})
	}
	if !known || !subnet.Contains(vip) {
		return out // a pool of machines elsewhere
	}
	rollOut := "then replace the machines, as what was handed out does not change: clusterctl alpha rollout restart kubeadmcontrolplane/NAME -n NAMESPACE"
	switch {
	case !p.Gateway.IsValid():
		out = append(out, Finding{Severity: Error, Mark: "no gateway", Seen: p.name() + " has no gateway", Why: "CAPV hands on an empty one, also in place of the VM template's: the nodes get no default route, and answer nobody beyond " + subnet.String(),
			Mend: []string{p.patch(`{"gateway":"GATEWAY"}`), rollOut}})
	case !subnet.Contains(p.Gateway):
		out = append(out, Finding{Severity: Error, Mark: "gateway outside", Seen: fmt.Sprintf("the gateway %s of %s is outside of its machines' subnet %s", p.Gateway, p.name(), subnet), Why: "the nodes cannot reach it: they get no way out of their subnet",
			Mend: []string{"the prefix is wrong, or the gateway is: " + p.patch(`{"prefix":BITS,"gateway":"GATEWAY"}`), rollOut}})
	}
	return out
}

var poolReuses = Check{ID: "D12", Title: "addresses that are given again", Modes: Management, Look: func(_ context.Context, c *Case) ([]Finding, error) {
	var out []Finding
	for _, p := range c.Facts.Management.Pools {
		if subnet, ok := p.subnet(); !p.ReuseKnown || p.Reuse || !ok || !subnet.Contains(c.Facts.VIP) {
			continue
		}
		out = append(out, Finding{Severity: Info, Seen: p.name() + " gives an address again as soon as it is free", Why: "in a rollout a new machine gets the address of one that was just deleted, and neighbours have the old MAC of it for a while",
			Mend: []string{p.patch(`{"addressReuseGracePeriodSeconds":300}`)}})
	}
	return out, nil
}}

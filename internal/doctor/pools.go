package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The checks of the IPAM objects in the management cluster.

// Pool is an InClusterIPPool or a GlobalInClusterIPPool.
type Pool struct {
	// Kind is the resource name for kubectl. Namespace is "" for a global pool.
	Kind, Namespace, Name string
	// Addresses and Excluded are addresses, ranges (a-b) and prefixes, as in the spec.
	Addresses, Excluded []string
	// Prefix is the prefix length of the machines' addresses.
	Prefix int
	// Gateway is invalid without a gateway.
	Gateway netip.Addr
	// Reuse: the pool sets a grace period before an address is allocated again. ReuseKnown:
	// this provider has that setting.
	Reuse, ReuseKnown bool
}

// IPAddress is an IPAddress object: the allocation of an address to a machine.
type IPAddress struct {
	Namespace, Name, Claim, Pool string
	Address                      netip.Addr
}

func (p Pool) name() string {
	if p.Namespace == "" {
		return p.Kind + " " + p.Name
	}
	return p.Kind + " " + p.Namespace + "/" + p.Name
}

// patch returns the command that changes a field of the pool.
func (p Pool) patch(spec string) string {
	in := ""
	if p.Namespace != "" {
		in = " -n " + p.Namespace
	}
	return fmt.Sprintf("kubectl%s patch %s %s --type=merge -p '{\"spec\":%s}'", in, p.Kind, p.Name, spec)
}

// span is a range of addresses, including both ends.
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

// last returns the highest address of a prefix.
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

// within reports whether an address is in one of several spans. The provider rejects spans that
// cannot be parsed.
func within(list []string, a netip.Addr) bool {
	for _, text := range list {
		if s, err := parseSpan(text); err == nil && s.contains(a) {
			return true
		}
	}
	return false
}

// subnet returns the subnet of a pool's machines, by the pool's first address.
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

var poolContainsVIP = Check{ID: "D11", Title: "IP pools", Modes: Management, Run: func(_ context.Context, in *Input) ([]Finding, error) {
	m, vip := in.Facts.Management, in.Facts.VIP
	var out []Finding
	allocated := false
	for _, a := range m.IPAddresses {
		if a.Address == vip {
			allocated = true
			out = append(out, Finding{Severity: Error, Kind: "handed out", Seen: fmt.Sprintf("the VIP %s is allocated to a machine: IPAddress %s/%s of pool %s, for claim %s", vip, a.Namespace, a.Name, a.Pool, a.Claim),
				Why:    "that machine and the holder of the VIP have the same address: clients reach either of them",
				Remedy: m.takeBack(a)})
		}
	}
	for _, p := range m.Pools {
		out = append(out, p.judge(vip, allocated, m.ControlPlane.rollOut())...)
	}
	return out, m.Unread
}}

// takeBack returns how the VIP is taken from a machine. The provider refuses to exclude an address
// that is allocated, and allocates the lowest free address: so the pool has to change between the end
// of one machine and the claim of the next one, which Cluster API makes seconds later.
func (m *ManagementCluster) takeBack(a IPAddress) []string {
	machine := fmt.Sprintf("kubectl -n %s delete machine --wait=false $(kubectl -n %s get ipaddressclaim %s -o jsonpath='{.metadata.ownerReferences[0].name}')", a.Namespace, a.Namespace, a.Claim)
	exclude := ""
	for _, p := range m.Pools {
		if p.Name == a.Pool && (p.Namespace == "" || p.Namespace == a.Namespace) && within(p.Addresses, a.Address) && !within(p.Excluded, a.Address) {
			exclude = p.exclude(a.Address)
		}
	}
	if exclude != "" {
		machine += "; until " + exclude + "; do sleep 0.2; done"
	}
	if m.ControlPlane == nil || !m.ControlPlane.Initialized {
		return []string{"replace the machine, and exclude the VIP as soon as the provider allows that: " + machine}
	}
	out := []string{"if the machine is a worker, replace it, and exclude the VIP as soon as the provider allows that: " + machine,
		"if the machine is a control-plane node, the only one is not to be deleted: " + m.ControlPlane.rollOut()}
	if exclude != "" {
		out = append(out, "and afterwards: "+exclude)
	}
	return out
}

// exclude returns the command that excludes an address from the pool.
func (p Pool) exclude(a netip.Addr) string {
	return p.patch(fmt.Sprintf(`{"excludedAddresses":["%s"]}`, strings.Join(append(slices.Clone(p.Excluded), a.String()), `","`)))
}

// judge checks one pool. allocated: the VIP is allocated. rollOut is what replaces the machines.
func (p Pool) judge(vip netip.Addr, allocated bool, rollOut string) (out []Finding) {
	subnet, known := p.subnet()
	switch {
	case p.Gateway == vip:
		out = append(out, Finding{Severity: Error, Kind: "gateway", Seen: fmt.Sprintf("the VIP %s is the gateway of %s", vip, p.name()), Why: "two machines have the address: the router and the holder",
			Remedy: []string{"choose another VIP, or correct the gateway: " + p.patch(`{"gateway":"GATEWAY"}`)}})
	case within(p.Addresses, vip) && !within(p.Excluded, vip):
		f := Finding{Severity: Error, Kind: "contains", Seen: fmt.Sprintf("%s contains the VIP %s, and does not exclude the VIP", p.name(), vip),
			Why: "the provider reserves only the gateway and the subnet's first and last address: sooner or later a machine gets the VIP",
			Remedy: []string{p.exclude(vip),
				"the field is excludedAddresses, with a d: the API server drops other spellings without an error. The patch replaces the list and includes the present entries"}}
		if allocated {
			f.Remedy = []string{"the provider refuses to exclude an address while a machine has it: first take the VIP back, as above"}
		}
		out = append(out, f)
	}
	if !known || !subnet.Contains(vip) {
		return out // a pool for another subnet
	}
	switch {
	case !p.Gateway.IsValid():
		out = append(out, Finding{Severity: Error, Kind: "no gateway", Seen: p.name() + " has no gateway", Why: "CAPV delivers an empty gateway, which also overrides the VM template's gateway: the nodes get no default route, and do not answer hosts outside of " + subnet.String(),
			Remedy: []string{p.patch(`{"gateway":"GATEWAY"}`), rollOut}})
	case !subnet.Contains(p.Gateway):
		out = append(out, Finding{Severity: Error, Kind: "gateway outside", Seen: fmt.Sprintf("the gateway %s of %s is outside of its machines' subnet %s", p.Gateway, p.name(), subnet), Why: "the nodes cannot reach the gateway, and therefore no other subnet",
			Remedy: []string{"the prefix or the gateway is wrong: " + p.patch(`{"prefix":BITS,"gateway":"GATEWAY"}`), rollOut}})
	}
	return out
}

var addressReuse = Check{ID: "D12", Title: "reuse of addresses", Modes: Management, Run: func(_ context.Context, in *Input) ([]Finding, error) {
	var out []Finding
	for _, p := range in.Facts.Management.Pools {
		if subnet, ok := p.subnet(); !p.ReuseKnown || p.Reuse || !ok || !subnet.Contains(in.Facts.VIP) {
			continue
		}
		out = append(out, Finding{Severity: Info, Seen: p.name() + " allocates an address again as soon as the address is free", Why: "in a rollout, a new machine gets the address of a machine that was just deleted, and neighbours use the old MAC for a while",
			Remedy: []string{p.patch(`{"addressReuseGracePeriodSeconds":300}`)}})
	}
	return out, nil
}}

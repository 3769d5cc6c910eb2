package netif

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// ErrNoSubnet means that no interface has a subnet that contains the address.
var ErrNoSubnet = errors.New("no local subnet holds the address")

// Choose returns the name of the interface whose subnet contains addr, by the longest prefix. The
// default route does not count: on a node with two networks it may use the other network. The error
// is ErrNoSubnet if there is no such interface.
func (s *Snapshot) Choose(addr netip.Addr) (string, error) {
	for bits := addr.BitLen(); bits >= 0; bits-- {
		subnet := netip.PrefixFrom(addr, bits).Masked()
		best := 0 // of several interfaces in one subnet, the oldest one
		for _, a := range s.within.get(subnet) {
			if !a.Ours && a.Global && a.Prefix.Addr() != addr && (best == 0 || a.Index < best) {
				best = a.Index
			}
		}
		if l, ok := s.LinkAt(best); ok {
			return l.Name, nil
		}
	}
	return "", fmt.Errorf("%w: %s is in none of %s", ErrNoSubnet, addr, s.subnets())
}

// subnets lists the subnets of this node, for people.
func (s *Snapshot) subnets() string {
	var out []string
	for _, a := range s.Addresses() {
		if a.Global && !a.Ours {
			out = append(out, fmt.Sprintf("%s (%s)", a.Prefix.Masked(), s.links.get(a.Index).Name))
		}
	}
	if len(out) == 0 {
		return "no subnet at all: no interface has an address yet"
	}
	return strings.Join(out, ", ")
}

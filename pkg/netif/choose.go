package netif

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// ErrNoSubnet means that no interface has a subnet with the address in it.
var ErrNoSubnet = errors.New("no local subnet holds the address")

// Choose names the interface whose subnet holds addr, by the longest prefix.
// The default route has no say: on a node with two networks it may point to the
// other one.
func Choose(links []Link, addrs []Address, addr netip.Addr) (string, error) {
	best := netip.Prefix{}
	index := 0
	for _, a := range addrs {
		if a.Ours || a.Prefix.Addr() == addr || !a.Prefix.Contains(addr) || !a.Global {
			continue
		}
		if a.Prefix.Bits() > best.Bits() || index == 0 {
			best, index = a.Prefix, a.Index
		}
	}
	for _, l := range links {
		if l.Index == index {
			return l.Name, nil
		}
	}
	return "", fmt.Errorf("%w: %s is in none of %s", ErrNoSubnet, addr, subnets(links, addrs))
}

// subnets lists what there is, for a person to choose from.
func subnets(links []Link, addrs []Address) string {
	names := make(map[int]string)
	for _, l := range links {
		names[l.Index] = l.Name
	}
	var out []string
	for _, a := range addrs {
		if a.Global && !a.Ours {
			out = append(out, fmt.Sprintf("%s (%s)", a.Prefix.Masked(), names[a.Index]))
		}
	}
	if len(out) == 0 {
		return "no subnet at all: no interface has an address yet"
	}
	return strings.Join(out, ", ")
}

// OwnedByNode tells whether addr is a node's own address and not a VIP: it is
// there without vipd's mark, and it is part of a subnet, on another interface
// than name, or all that the interface has. A lone /32 beside other addresses
// is what another VIP manager leaves behind; vipd takes that one over.
func OwnedByNode(links []Link, addrs []Address, name string, addr netip.Addr) (Address, bool) {
	index := 0
	for _, l := range links {
		if l.Name == name {
			index = l.Index
		}
	}
	for _, a := range addrs {
		if a.Prefix.Addr() != addr || a.Ours {
			continue
		}
		if !a.Prefix.IsSingleIP() || a.Index != index || alone(addrs, a) {
			return a, true
		}
	}
	return Address{}, false
}

// alone tells whether a is the only global address of its family on its interface.
func alone(addrs []Address, a Address) bool {
	for _, b := range addrs {
		if b.Index == a.Index && b.Global && b.Prefix.Addr() != a.Prefix.Addr() &&
			b.Prefix.Addr().Is4() == a.Prefix.Addr().Is4() {
			return false
		}
	}
	return true
}

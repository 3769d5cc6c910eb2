package lab

import (
	"net/netip"
	"slices"

	"github.com/vipd-io/vipd/e2e/judge/record"
)

// Holders returns the nodes that have the VIP on their interface: normally one.
func (l *Lab) Holders() (have []*Node, err error) {
	for _, n := range l.Nodes {
		has, err := n.Has(l.VIP)
		if err != nil {
			return nil, err
		}
		if has {
			have = append(have, n)
		}
	}
	return have, nil
}

// Endpoint returns the VIP with the port of the API servers.
func (l *Lab) Endpoint() netip.AddrPort { return netip.AddrPortFrom(l.VIP, Port) }

// Has tells whether the host has an address on eth0.
func (h *Host) Has(addr netip.Addr) (bool, error) {
	addrs, err := h.Addresses()
	return slices.Contains(addrs, addr), err
}

// Others returns the hosts of all nodes but one.
func (l *Lab) Others(than *Node) (hosts []*Host) {
	for _, n := range l.Nodes {
		if n != than {
			hosts = append(hosts, n.Host)
		}
	}
	return hosts
}

// Cluster returns the MACs of the nodes.
func (l *Lab) Cluster() record.Cluster {
	c := record.Cluster{Nodes: make(map[string][]string)}
	for _, n := range l.Nodes {
		c.Nodes[n.Name] = n.MACs()
	}
	return c
}

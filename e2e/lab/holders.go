package lab

import (
	"net/netip"
	"slices"

	"github.com/vipd-io/vipd/e2e/record"
)

// Holders are the nodes that have the VIP on their interface: one, if all is well.
func (l *Lab) Holders() (have []*Node, err error) {
	for _, n := range l.Nodes {
		has, err := n.Has(VIP)
		if err != nil {
			return nil, err
		}
		if has {
			have = append(have, n)
		}
	}
	return have, nil
}

// Has tells whether the host has an address on eth0.
func (h *Host) Has(addr netip.Addr) (bool, error) {
	addrs, err := h.Addresses()
	return slices.Contains(addrs, addr), err
}

// Others are the hosts of all nodes but one.
func (l *Lab) Others(than *Node) (hosts []*Host) {
	for _, n := range l.Nodes {
		if n != than {
			hosts = append(hosts, n.Host)
		}
	}
	return hosts
}

// Cluster tells the nodes from their MACs.
func (l *Lab) Cluster() record.Cluster {
	c := record.Cluster{Nodes: make(map[string][]string)}
	for _, n := range l.Nodes {
		c.Nodes[n.Name] = n.MACs()
	}
	return c
}

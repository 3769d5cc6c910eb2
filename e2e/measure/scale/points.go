// Package scale measures the cost of vipd against the number of nodes and of VIPs: requests to the
// API servers, watch events, packets, memory, processor time, and the duration of a takeover. It
// plots the values and writes a document.
//
// The lab has three control planes. Each further node is a real vipd in its own network namespace,
// which uses one of the three API servers as its own.
package scale

import (
	"cmp"
	"fmt"
	"slices"
)

// A Point is one size of a cluster.
type Point struct {
	Nodes int `json:"nodes"`
	VIPs  int `json:"vips"`
	// Servers is the number of API servers that each vipd knows: the lab's three, or one per node.
	// In the second case the further ones are additional addresses of the three.
	Servers int `json:"servers"`
}

const (
	// planes is the number of real control planes in a lab.
	planes = 3
	// Limits of the addresses in the lab's subnet.
	maxNodes   = 100
	maxServers = 38
	maxVIPs    = 16
)

// own tells whether each node has its own API server.
func (p Point) own() bool { return p.Servers == p.Nodes }

func (p Point) String() string {
	return fmt.Sprintf("%d nodes, %d API servers, %d VIPs", p.Nodes, p.Servers, p.VIPs)
}

// Points returns the points to measure: numbers of nodes with the lab's three API servers, numbers
// of VIPs at three nodes, and numbers of nodes with as many API servers. Duplicates, such as three
// nodes, are removed. In this order, the lab changes least from one point to the next.
func Points(nodes, vips, servers []int) ([]Point, error) {
	var out []Point
	add := func(what string, list []int, least, most int, point func(int) Point) error {
		for _, n := range slices.SortedFunc(slices.Values(list), cmp.Compare[int]) {
			if n < least || n > most {
				return fmt.Errorf("%d %s: the lab can have %d to %d", n, what, least, most)
			}
			if p := point(n); !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
		return nil
	}
	if err := add("nodes", nodes, planes, maxNodes, func(n int) Point { return Point{Nodes: n, VIPs: 1, Servers: planes} }); err != nil {
		return nil, err
	}
	if err := add("VIPs", vips, 1, maxVIPs, func(n int) Point { return Point{Nodes: planes, VIPs: n, Servers: planes} }); err != nil {
		return nil, err
	}
	if err := add("API servers", servers, planes, maxServers, func(n int) Point { return Point{Nodes: n, VIPs: 1, Servers: n} }); err != nil {
		return nil, err
	}
	return out, nil
}

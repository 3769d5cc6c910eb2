// Package scale measures what vipd costs against the number of nodes and of VIPs:
// requests to the API servers, watch events, packets, memory and processor time,
// and how long a takeover takes. It draws the figures and writes them down.
//
// The lab has three control planes. Each node beyond those is a real vipd in a
// network namespace of its own that takes one of the three API servers for its
// own.
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
	// Servers is how many API servers each vipd knows of: the lab's three, or one
	// per node. In the second case those beyond three are further addresses of
	// the three.
	Servers int `json:"servers"`
}

const (
	// planes is how many real control planes a lab has.
	planes = 3
	// The addresses of the lab's subnet allow for no more.
	maxNodes   = 100
	maxServers = 38
	maxVIPs    = 16
)

// Of tells the curve that the point lies on.
func (p Point) own() bool { return p.Servers == p.Nodes }

func (p Point) String() string {
	return fmt.Sprintf("%d nodes, %d API servers, %d VIPs", p.Nodes, p.Servers, p.VIPs)
}

// Points puts together what to measure: numbers of nodes with the lab's three API
// servers, numbers of VIPs at three nodes, and numbers of nodes with as many API
// servers. Those that are given more than once, as three nodes are, come once.
// The order is that in which the lab gets from one to the next with least effort.
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

package simulation

import (
	"fmt"
	"testing"
	"time"

	"github.com/vipd-io/vipd/internal/bubble"
)

// TestPermitAfterTheNextArm: a store whose answers take longer than the renew interval, without
// other accidents, also for a lone node. A holder answers without a gap while it has the lease: the
// next Arm must not supersede the ticket of a Permit in flight.
func TestPermitAfterTheNextArm(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				c := lonely(t, seed)
				n := c.nodes[0]
				n.start()
				if seed%2 == 0 {
					n.p.setAlone(true)
				}
				c.until(10 * time.Second)
				for _, takes := range []time.Duration{1200 * time.Millisecond, 3 * time.Second} {
					c.sync.Store(int64(takes))
					c.until(time.Minute)
					if dark := n.darkest(2 * time.Minute); dark > 50*time.Millisecond {
						t.Errorf("a store of %s: it held the lease and did not answer for %s", takes, dark)
					}
				}
				c.end()
			})
		})
	}
}

// lonely returns a cluster of one node, without accidents.
func lonely(t *testing.T, seed uint64) *cluster {
	c := newCluster(t, seed, rules{leases: [][]time.Duration{{3 * time.Second}}})
	for _, n := range c.nodes[1:] {
		n.kernel().off()
	}
	c.nodes, c.most = c.nodes[:1], 40*time.Second
	c.peace.Store(true)
	return c
}

// darkest returns the longest time in which the node has the lease and does not answer.
func (n *node) darkest(within time.Duration) (longest time.Duration) {
	const step = 10 * time.Millisecond
	var dark time.Duration
	for range within / step {
		n.c.until(step)
		s := n.p.electionStatus()
		if _, answers := n.kernel().answering(); answers || !s.Held || n.kernel().now() >= s.Until {
			dark = 0
			continue
		}
		dark += step
		longest = max(longest, dark)
	}
	return longest
}

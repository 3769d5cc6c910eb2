package simulation

import (
	"cmp"
	"time"
)

// A scenario: the nodes start, accidents happen, all damage is undone, one node has to hold the
// address then and has to keep it through harmless accidents, and all processes end.

const accidents = 30

func (c *cluster) scenario() {
	first := c.nodes
	if c.rng.IntN(4) == 0 {
		first = first[:1] // a cluster begins with one node, and grows
	}
	for _, n := range first {
		c.after(c.upTo(2*time.Second), func() { c.revive(n) })
	}
	c.until(c.longest + c.upTo(3*time.Second))
	for range cmp.Or(c.rules.length, accidents) {
		// At once one after the other, or after a while.
		c.until(c.upTo([...]time.Duration{100 * time.Millisecond, time.Second, 3 * time.Second}[c.rng.IntN(3)]))
		c.accident()
	}
	c.heal()
	if c.settle() && !c.rules.lifetime {
		c.quiet() // a lifetime alone does not prevent needless moves
		if c.rng.IntN(2) == 0 && c.settle() {
			c.restartEverywhere()
		}
	}
	c.end()
}

// upTo draws a duration.
func (c *cluster) upTo(d time.Duration) time.Duration { return time.Duration(c.rng.Int64N(int64(d))) }

// pickNode returns the node that answers, or any.
func (c *cluster) pickNode() *node {
	if who, _ := c.holders(); len(who) > 0 && c.rng.IntN(2) == 0 {
		return who[0]
	}
	return c.nodes[c.rng.IntN(len(c.nodes))]
}

// accident draws one accident, or one request of a person.
func (c *cluster) accident() {
	n := c.pickNode()
	if c.rules.extra != nil && c.rng.IntN(4) == 0 {
		c.rules.extra(c, n)
		return
	}
	sum := 0
	for _, k := range accidentKinds {
		sum += k.weight
	}
	random := c.rng.IntN(sum)
	for _, k := range accidentKinds {
		if random -= k.weight; random < 0 {
			if k.do(c, n) {
				c.count(k.name)
			}
			return
		}
	}
}

// later draws when damage is undone.
func (c *cluster) later() time.Duration {
	return c.upTo([...]time.Duration{50 * time.Millisecond, 2 * c.longest / 3, 3 * c.longest}[c.rng.IntN(3)])
}

// revive starts vipd as soon as the process before has ended.
func (c *cluster) revive(n *node) {
	if n.running() == nil && !n.start() {
		c.after(100*time.Millisecond, func() { c.revive(n) })
	}
}

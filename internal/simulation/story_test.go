package simulation

import (
	"cmp"
	"time"
)

// A story: the nodes start, accidents happen, all is put right, somebody has to
// hold the address then and keep it whatever is no reason to move, and everybody
// ends.

const accidents = 30

func (c *cluster) story() {
	for _, n := range c.nodes {
		c.after(c.upTo(2*time.Second), func() { c.revive(n) })
	}
	c.until(c.longest + c.upTo(3*time.Second))
	for range cmp.Or(c.rules.length, accidents) {
		// One upon the other, or after a while.
		c.until(c.upTo([...]time.Duration{100 * time.Millisecond, time.Second, 3 * time.Second}[c.rng.IntN(3)]))
		c.accident()
	}
	c.heal()
	if c.settle() && !c.rules.lifetime {
		c.quiet() // a lifetime alone is not free of needless moves
	}
	c.end()
}

// upTo draws a time.
func (c *cluster) upTo(d time.Duration) time.Duration { return time.Duration(c.rng.Int64N(int64(d))) }

// someone is the node that answers, or any.
func (c *cluster) someone() *node {
	if who, _ := c.holders(); len(who) > 0 && c.rng.IntN(2) == 0 {
		return who[0]
	}
	return c.nodes[c.rng.IntN(len(c.nodes))]
}

// accident is one thing that goes wrong, or that people want.
func (c *cluster) accident() {
	n := c.someone()
	if c.rules.extra != nil && c.rng.IntN(4) == 0 {
		c.rules.extra(c, n)
		return
	}
	sum := 0
	for _, k := range accidentKinds {
		sum += k.weight
	}
	lot := c.rng.IntN(sum)
	for _, k := range accidentKinds {
		if lot -= k.weight; lot < 0 {
			if k.do(c, n) {
				c.count(k.name)
			}
			return
		}
	}
}

// later is when what was broken is whole again.
func (c *cluster) later() time.Duration {
	return c.upTo([...]time.Duration{50 * time.Millisecond, 2 * c.longest / 3, 3 * c.longest}[c.rng.IntN(3)])
}

// revive starts vipd, as soon as the one before has ended.
func (c *cluster) revive(n *node) {
	if n.running() == nil && !n.start() {
		c.after(100*time.Millisecond, func() { c.revive(n) })
	}
}

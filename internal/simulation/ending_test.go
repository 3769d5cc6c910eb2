package simulation

import (
	"time"

	"github.com/vipd-io/vipd/pkg/vip"
)

// heal ends all accidents and puts right what they left.
func (c *cluster) heal() {
	c.note("all is put right")
	c.peace.Store(true)
	c.outage.Store(false)
	for _, n := range c.nodes {
		n.setWeather(fair)
		n.setLoss(0)
		n.kernel().relink(func(l *vip.Link) { l.Up = true })
		for _, p := range n.all {
			p.wake()
			p.manager.Serves(c.wellServed(n))
		}
		c.revive(n)
	}
}

func (c *cluster) wellServed(n *node) vip.Serving {
	v := vip.Serving{Local: vip.Ready}
	for _, other := range c.nodes {
		if other != n {
			v.Peers = append(v.Peers, vip.Peer{Node: other.self, Ready: true})
		}
	}
	return v
}

// settle waits until one node has answered alone for a while, and looks at how
// long it took until it did. What is allowed is the sum of all that may have to be
// waited out: a request that was under way (8 s), a lease from then on, one more
// if it was spoilt by that, a node that could not serve (5 s), a contested address
// (3 s), retries.
func (c *cluster) settle() bool {
	healed, lease := c.now(), c.longest
	for c.now()-healed < 4*lease+25*time.Second {
		c.until(250 * time.Millisecond)
		who, since := c.holders()
		if len(who) == 1 && c.now()-max(since, healed) >= 2*lease+time.Second {
			if took := since - healed; took > 2*lease+18*time.Second {
				c.wrong(stranded, "%s answers only %s after all was put right", who[0].name, took)
			}
			return true
		}
	}
	who, since := c.holders()
	c.wrong(stranded, "after all was put right: %d answer, since %s; lease: %+v", len(who), since, c.server.Lease())
	return false
}

// holders are the nodes that answer, and since when the last of them does.
func (c *cluster) holders() (who []*node, last time.Duration) {
	for _, n := range c.nodes {
		if since, answers := n.kernel().answering(); answers {
			who, last = append(who, n), max(last, since)
		}
	}
	return who, last
}

// end has everybody end in order, one upon the other, and looks at what is left.
func (c *cluster) end() {
	c.agenda = nil
	for _, i := range c.rng.Perm(len(c.nodes)) {
		c.nodes[i].stop()
		c.until(c.upTo(150 * time.Millisecond))
	}
	c.until(2 * time.Second)
	for _, n := range c.nodes {
		for _, p := range n.all {
			if !p.ended() {
				c.wrong(slowExit, "a process of %s has not ended", n.name)
			}
		}
		if n.p != nil && n.p.err != nil {
			c.wrong(leftBehind, "%s ended with %v", n.name, n.p.err)
		}
		if left := n.kernel().leftovers(); len(left) > 0 {
			c.wrong(leftBehind, "%s left %v behind", n.name, left)
		}
		n.kernel().off()
	}
	if l := c.server.Lease(); l != nil && holderOf(l) != "" {
		c.wrong(leftBehind, "the lease still names %s", holderOf(l))
	}
	c.until(10 * time.Second) // requests that were given up end, too
}

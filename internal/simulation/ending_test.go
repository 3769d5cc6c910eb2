package simulation

import (
	"time"

	"github.com/vipd-io/vipd/pkg/vip"
)

// heal ends all accidents and puts right what they left.
func (c *cluster) heal() {
	c.until(time.Millisecond) // or who is told twice at once may hear the first or not
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

// settle waits until one node answers alone and has for a while. Until it does may
// take what has to be waited out: a lease, one more if a request that was under way
// spoilt that, a node that could not serve (5 s), a contested address (3 s). In
// 20,000 stories it took two leases and 2 s at most.
func (c *cluster) settle() bool {
	healed, within, stays := c.now(), 2*c.longest+8*time.Second, 2*c.longest+time.Second
	for c.now()-healed < within+stays {
		c.until(250 * time.Millisecond)
		if who, since := c.holders(); len(who) == 1 && c.now()-max(since, healed) >= stays {
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

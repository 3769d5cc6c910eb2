package simulation

import (
	"time"

	"github.com/vipd-io/vipd/pkg/vip"
)

// heal ends all accidents and undoes their damage.
func (c *cluster) heal() {
	c.until(time.Millisecond) // so that two notifications at the same time cannot be merged
	c.note("all is put right")
	c.peace.Store(true)
	c.outage.Store(false)
	c.sync.Store(0)
	for i := range c.caches {
		c.caches[i].Store(0)
	}
	for _, n := range c.nodes {
		n.setStoreAccess(fair)
		n.setLoss(0)
		for _, own := range []bool{true, false} {
			c.uncopied(n, n.kernel(), own)
		}
		n.kernel().relink(func(l *vip.Link) { l.Up = true })
		n.wakeUp()
		for _, p := range n.all {
			p.wake()
			p.manager.Serves(c.serves(n, c.nodes))
		}
		c.revive(n)
	}
}

// settle waits until one node answers alone and has done so for a while. The wait includes what has
// to be waited out: a lease, one more if a request in flight spoilt that, a node that could not
// serve (5 s), and a contested address (a lease, or 3 s).
func (c *cluster) settle() bool {
	healed, within, stays := c.now(), 3*c.most+8*time.Second, 2*c.most+time.Second
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

// holders returns the nodes that answer, and since when the last of them does.
func (c *cluster) holders() (who []*node, last time.Duration) {
	for _, n := range c.nodes {
		if since, answers := n.kernel().answering(); answers {
			who, last = append(who, n), max(last, since)
		}
	}
	return who, last
}

// end stops all processes in order, one after the other, and checks what is left.
func (c *cluster) end() {
	c.agenda = nil
	for _, i := range c.rng.Perm(len(c.nodes)) {
		c.nodes[i].stop()
		c.until(c.upTo(150 * time.Millisecond))
	}
	c.until(waitForNext + 2*time.Second)
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
	c.until(10 * time.Second) // cancelled requests end, too
}

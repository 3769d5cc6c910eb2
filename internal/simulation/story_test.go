//go:build simulation

package simulation

import (
	"cmp"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/vip"
)

// A story: the nodes start, accidents happen, all is put right, somebody has to
// hold the address then, and everybody ends.

const accidents = 30

func (c *cluster) story() {
	for _, n := range c.nodes {
		c.after(c.upTo(2*time.Second), func() { c.revive(n) })
	}
	c.until(c.timing.Lease + c.upTo(3*time.Second))
	for range cmp.Or(c.rules.length, accidents) {
		// One upon the other, or after a while.
		c.until(c.upTo([...]time.Duration{100 * time.Millisecond, time.Second, 3 * time.Second}[c.rng.IntN(3)]))
		c.accident()
	}
	c.heal()
	c.settle()
	c.end()
}

// upTo draws a time.
func (c *cluster) upTo(d time.Duration) time.Duration { return time.Duration(c.rng.Int64N(int64(d))) }

// someone is the node that answers, or any.
func (c *cluster) someone() *node {
	for _, n := range c.nodes {
		if _, answers := n.kernel().answering(); answers && c.rng.IntN(2) == 0 {
			return n
		}
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
	kinds := []struct {
		weight int
		do     func(*node)
	}{
		{9, c.killed}, {3, c.rebooted}, {8, c.stopped}, {10, c.paused},
		{14, c.disturbed}, {6, c.stormed}, {4, c.cutOff},
		{8, c.served}, {6, c.moved}, {7, c.edited}, {2, c.deleted}, {1, c.restored}, {3, c.muted},
		{5, c.removed}, {1, c.fought}, {5, c.damaged}, {5, c.relinked}, {3, c.contested}, {2, c.deafened},
	}
	sum := 0
	for _, k := range kinds {
		sum += k.weight
	}
	lot := c.rng.IntN(sum)
	for _, k := range kinds {
		if lot -= k.weight; lot < 0 {
			k.do(n)
			return
		}
	}
}

// later is when what was broken is whole again.
func (c *cluster) later() time.Duration {
	return c.upTo([...]time.Duration{50 * time.Millisecond, 2 * c.timing.Lease / 3, 3 * c.timing.Lease}[c.rng.IntN(3)])
}

// revive starts vipd, as soon as the one before has ended.
func (c *cluster) revive(n *node) {
	if n.running() == nil && !n.start() {
		c.after(100*time.Millisecond, func() { c.revive(n) })
	}
}

func (c *cluster) killed(n *node) {
	if c.rules.kills && !n.spared() {
		n.crash()
		c.after(c.later(), func() { c.revive(n) })
	}
}

func (c *cluster) rebooted(n *node) {
	if c.rules.kills && !n.spared() {
		n.reboot()
		c.after(c.later(), func() { c.revive(n) })
	}
}

func (c *cluster) stopped(n *node) {
	n.stop()
	c.after(c.later(), func() { c.revive(n) })
}

func (c *cluster) paused(n *node) {
	p, d := n.running(), c.pauseLengthOf(c.rng.Uint64())
	if p != nil && d > 0 && !n.spared() {
		p.pause(d)
	}
}

func (c *cluster) pauseLengthOf(lot uint64) time.Duration {
	if c.rules.pause == 0 {
		return 0
	}
	return c.pauseLength(lot)
}

// disturbed: the node's way to the store is worse for a while.
func (c *cluster) disturbed(n *node) {
	w := weather(1 + c.rng.IntN(int(cut)))
	n.setWeather(w)
	c.note("%s: weather %s", n.name, w)
	c.after(c.later(), func() {
		n.setWeather(fair)
		c.note("%s: weather %s", n.name, fair)
	})
}

// stormed: everybody's is.
func (c *cluster) stormed(*node) {
	for _, n := range c.nodes {
		c.disturbed(n)
	}
}

// cutOff: nobody reaches the store.
func (c *cluster) cutOff(*node) { c.breaks(c.later(), func() {}) }

// breaks has the store away for a while, and does something before it is back.
func (c *cluster) breaks(d time.Duration, do func()) {
	if c.outage.Swap(true) {
		return
	}
	c.note("store: gone for %s", d)
	c.after(d, func() {
		if c.calm() {
			return // it is back already
		}
		do()
		c.outage.Store(false)
		c.note("store: back")
	})
}

// served: what is known of the API servers is another thing, right or wrong.
func (c *cluster) served(n *node) {
	p := n.running()
	if p == nil {
		return
	}
	v := vip.Serving{Local: vip.Readiness(c.rng.IntN(3)), Why: "simulated", Yields: c.rng.IntN(4) == 0}
	if c.rng.IntN(4) == 0 {
		v.Leaving = n.name + " is cordoned"
	}
	for _, other := range c.nodes {
		if other != n && c.rng.IntN(8) > 0 {
			peer := vip.Peer{Node: other.self, Ready: c.rng.IntN(3) > 0, Better: c.rng.IntN(2) == 0, Why: "simulated"}
			if c.rng.IntN(6) == 0 {
				peer.Leaving = other.name + " is cordoned"
			}
			v.Peers = append(v.Peers, peer)
		}
	}
	c.note("%s: sees %+v", n.name, v)
	p.manager.Serves(v)
}

// moved: somebody asks the holder to move.
func (c *cluster) moved(n *node) {
	to := []string{election.AnyNode, n.self, "n99"}[c.rng.IntN(3)]
	c.edit("move to "+to, func(l *coordinationv1.Lease) {
		if l.Annotations == nil {
			l.Annotations = make(map[string]string)
		}
		l.Annotations[election.MoveAnnotation] = to
	})
}

// edit is a change of the Lease by hand, if there is one.
func (c *cluster) edit(what string, change func(*coordinationv1.Lease)) {
	if c.server.Lease() != nil {
		c.note("lease: %s", what)
		c.server.Edit(change)
	}
}

// edited: somebody damages the Lease, or takes it. A forged mark of a release, or
// a shorter duration and then no note of the holder's that tells the right one, is
// no accident.
func (c *cluster) edited(*node) {
	switch c.rng.IntN(6) {
	case 0, 1:
		c.edit("blanked", func(l *coordinationv1.Lease) { l.Spec.HolderIdentity = nil })
	case 2:
		c.edit("note deleted", func(l *coordinationv1.Lease) {
			if noteOf(l).Seconds == int(seconds(l)) {
				delete(l.Annotations, election.Annotation)
			}
		})
	case 3:
		c.edit("duration shorter", func(l *coordinationv1.Lease) {
			if n := noteOf(l); n.Holder == holderOf(l) && n.Term == termOf(l) {
				l.Spec.LeaseDurationSeconds = new([]int32{-5, 0, 1}[c.rng.IntN(3)])
			}
		})
	default:
		c.edit("stolen", func(l *coordinationv1.Lease) {
			l.Spec.HolderIdentity, l.Spec.LeaseTransitions = new(thief), new(int32(termOf(l)+1))
			l.Spec.LeaseDurationSeconds = new(int32(c.timing.Lease / time.Second))
		})
	}
}

// thief holds the Lease because somebody has written so.
const thief = "thief"

// deleted: somebody deletes the Lease. Among nodes with leases of different
// lengths that is too much, see TestDeletedAmongDifferentLeases.
func (c *cluster) deleted(*node) {
	if c.server.Lease() != nil && (c.uniform() || c.rules.extra != nil) {
		c.note("lease: deleted")
		c.server.Delete()
		c.resets[len(c.server.History())] = true
	}
}

// restored: an older version is back, with a version number of its own, after the
// store was away for longer than any lease.
func (c *cluster) restored(*node) {
	c.breaks(c.timing.Lease*3/2+time.Second, func() {
		history := c.server.History()
		if len(history) == 0 {
			return
		}
		old := history[c.rng.IntN(len(history))]
		if old == nil {
			return
		}
		c.edit("restored", func(l *coordinationv1.Lease) { l.Spec, l.Annotations = old.Spec, old.Annotations })
		c.resets[len(c.server.History())-1] = true
	})
}

// muted: the watches stay open and deliver nothing any more.
func (c *cluster) muted(*node) {
	c.note("store: watches muted")
	c.server.Mute()
}

// removed: somebody takes the address away.
func (c *cluster) removed(n *node) {
	c.note("%s: address removed by hand", n.name)
	n.kernel().remove()
}

// fought: a program takes the address away whenever it is there, for some seconds.
func (c *cluster) fought(n *node) {
	end := c.now() + c.upTo(8*time.Second)
	var fight func()
	fight = func() {
		n.kernel().remove()
		if c.now() < end {
			c.after(10*time.Millisecond+c.upTo(100*time.Millisecond), fight)
		}
	}
	c.note("%s: a program fights for the address until %s", n.name, end)
	fight()
}

// damaged: somebody changes the tables of a holder that runs. It is left in peace
// for a moment: who is killed before he could mend them is not fenced any more,
// and of two accidents at once vipd gets over one.
func (c *cluster) damaged(n *node) {
	p := n.running()
	if p == nil || !c.rules.damage || c.rules.lifetime {
		return
	}
	runs, _ := p.steady()
	_, answers := p.k.answering()
	if s := p.standing(); !runs || !answers || !s.Held || s.Until.Sub(p.k.now()) < time.Second {
		return
	}
	n.setSpare(3 * time.Second)
	kind := c.rng.IntN(4)
	c.note("%s: tables damaged: %s", n.name, [...]string{"flushed", "no ticket in force", "nothing fenced", "prolonged"}[kind])
	p.k.damage(func() {
		for i := range p.k.slots {
			switch s := &p.k.slots[i]; kind {
			case 0:
				*s, p.k.tables = slot{}, false
			case 1:
				s.inForce = false
			case 2:
				s.fenced = element{}
			case 3:
				if s.armed.ends > p.k.at {
					s.armed.due, s.armed.ends = s.armed.due.Add(time.Hour), s.armed.ends+time.Hour
				}
			}
		}
	})
}

// relinked: the interface goes down, or is another one, perhaps with another MAC.
func (c *cluster) relinked(n *node) {
	k, kind := n.kernel(), c.rng.IntN(4)
	c.note("%s: interface changed: %d", n.name, kind)
	switch kind {
	case 0, 1:
		k.relink(func(l *vip.Link) { l.Up = false })
		c.after(c.later(), func() { n.kernel().relink(func(l *vip.Link) { l.Up = true }) })
	case 2:
		k.relink(func(l *vip.Link) { l.Index++ })
	default:
		mac := fmt.Sprintf("mac-of-%s-%d", n.name, c.now())
		k.relink(func(l *vip.Link) { l.Index, l.MAC = l.Index+1, mac })
	}
}

// contested: a machine that is none of the nodes claims the address.
func (c *cluster) contested(*node) {
	c.note("a stranger claims the address")
	for _, n := range c.nodes {
		n.hear("mac-of-a-stranger")
	}
}

// deafened: announcements are lost on the way to a node.
func (c *cluster) deafened(n *node) {
	loss := uint64(c.rng.IntN(101))
	n.mu.Lock()
	n.loss = loss
	n.mu.Unlock()
	c.note("%s: hears %d%% of the frames", n.name, 100-loss)
}

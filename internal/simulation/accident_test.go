package simulation

import (
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/vip"
)

// accidentKinds are drawn by weight. Each tells whether it came to anything.
var accidentKinds = []struct {
	name   string
	weight int
	do     func(*cluster, *node) bool
}{
	{"killed", 9, (*cluster).killed},
	{"rebooted", 3, (*cluster).rebooted},
	{"stopped", 8, (*cluster).stopped},
	{"paused", 10, (*cluster).paused},
	{"disturbed", 14, (*cluster).disturbed},
	{"stormed", 6, (*cluster).stormed},
	{"cut off", 4, (*cluster).cutOff},
	{"served", 8, (*cluster).served},
	{"moved", 6, (*cluster).moved},
	{"blanked", 3, (*cluster).blanked},
	{"note deleted", 1, (*cluster).noteDeleted},
	{"shortened", 1, (*cluster).shortened},
	{"stolen", 2, (*cluster).stolen},
	{"deleted", 2, (*cluster).deleted},
	{"restored", 2, (*cluster).restored},
	{"muted", 3, (*cluster).muted},
	{"clock set", 3, (*cluster).clockSet},
	{"removed", 5, (*cluster).removed},
	{"fought", 1, (*cluster).fought},
	{"damaged", 5, (*cluster).damaged},
	{"relinked", 5, (*cluster).relinked},
	{"contested", 3, (*cluster).contested},
	{"deafened", 2, (*cluster).deafened},
}

func (c *cluster) killed(n *node) bool {
	if !c.rules.kills || n.spared() || !n.crash() {
		return false
	}
	c.after(c.later(), func() { c.revive(n) })
	return true
}

func (c *cluster) rebooted(n *node) bool {
	if !c.rules.kills || n.spared() {
		return false
	}
	n.reboot()
	c.after(c.later(), func() { c.revive(n) })
	return true
}

func (c *cluster) stopped(n *node) bool {
	ran := n.stop()
	c.after(c.later(), func() { c.revive(n) })
	return ran
}

func (c *cluster) paused(n *node) bool {
	p := n.running()
	if p == nil || c.rules.pause == 0 || n.spared() {
		return false
	}
	p.pause(c.pauseLength(c.rng.Uint64()))
	return true
}

// disturbed: the node's way to the store is worse for a while.
func (c *cluster) disturbed(n *node) bool {
	c.weathers(n, weather(1+c.rng.IntN(int(cut))), c.later())
	return true
}

func (c *cluster) weathers(n *node, w weather, d time.Duration) {
	n.setWeather(w)
	c.note("%s: weather %s", n.name, w)
	c.after(d, func() {
		n.setWeather(fair)
		c.note("%s: weather %s", n.name, fair)
	})
}

// stormed: everybody's is.
func (c *cluster) stormed(*node) bool {
	for _, n := range c.nodes {
		c.disturbed(n)
	}
	return true
}

// cutOff: nobody reaches the store, as without a quorum.
func (c *cluster) cutOff(*node) bool { return c.breaks(c.later(), func() {}) }

// breaks has the store away for a while, and does something before it is back.
func (c *cluster) breaks(d time.Duration, do func()) bool {
	if c.outage.Swap(true) {
		return false
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
	return true
}

// served: what is known of the API servers is another thing, right or wrong.
func (c *cluster) served(n *node) bool {
	p := n.running()
	if p == nil {
		return false
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
	return true
}

// moved: somebody asks the holder to move.
func (c *cluster) moved(n *node) bool {
	return c.ask([]string{election.AnyNode, n.self, nobody}[c.rng.IntN(3)])
}

// nobody is no node's name.
const nobody = "n99"

func (c *cluster) ask(to string) bool {
	return c.edit("move to "+to, func(l *coordinationv1.Lease) {
		if l.Annotations == nil {
			l.Annotations = make(map[string]string)
		}
		l.Annotations[election.MoveAnnotation] = to
	})
}

// edit is a change of the Lease by hand, if there is one.
func (c *cluster) edit(what string, change func(*coordinationv1.Lease)) bool {
	if c.server.Lease() == nil {
		return false
	}
	c.note("lease: %s", what)
	c.server.Edit(change)
	return true
}

func (c *cluster) blanked(*node) bool {
	return c.edit("blanked", func(l *coordinationv1.Lease) { l.Spec.HolderIdentity = nil })
}

// noteDeleted: without the note nothing tells the right duration if the spec does
// not. That would be two accidents.
func (c *cluster) noteDeleted(*node) bool {
	l := c.server.Lease()
	return l != nil && noteOf(l).Seconds == int(seconds(l)) &&
		c.edit("note deleted", func(l *coordinationv1.Lease) { delete(l.Annotations, election.Annotation) })
}

// shortened: the duration in the spec is another one, or nonsense. The holder's
// note tells the right one; without it that would be two accidents.
func (c *cluster) shortened(*node) bool {
	l := c.server.Lease()
	if l == nil {
		return false
	}
	n := noteOf(l)
	return n.Holder != "" && n.Holder == holderOf(l) && n.Term == termOf(l) &&
		c.edit("duration shorter", func(l *coordinationv1.Lease) {
			l.Spec.LeaseDurationSeconds = new([]int32{-5, 0, 1}[c.rng.IntN(3)])
		})
}

// thief holds the Lease because somebody has written so.
const thief = "thief"

func (c *cluster) stolen(*node) bool {
	return c.edit("stolen", func(l *coordinationv1.Lease) {
		l.Spec.HolderIdentity, l.Spec.LeaseTransitions = new(thief), new(int32(termOf(l)+1))
		l.Spec.LeaseDurationSeconds = new(int32(c.longest / time.Second))
	})
}

// deleted: somebody deletes the Lease. Among nodes with leases of different
// lengths that is too much, see TestDeletedAmongDifferentLeases.
func (c *cluster) deleted(n *node) bool { return len(c.timings) == 1 && c.deletedAnyway(n) }

func (c *cluster) deletedAnyway(*node) bool {
	if c.server.Lease() == nil {
		return false
	}
	c.note("lease: deleted")
	c.server.Delete()
	c.resets[len(c.server.History())] = true
	return true
}

// restored: an older version is back, after the store was away for longer than any
// lease; with the version number it had, or with a new one (etcdutl --bump-revision).
func (c *cluster) restored(*node) bool {
	return c.breaks(c.longest*3/2+time.Second, func() {
		history := c.server.History()
		if len(history) == 0 || c.server.Lease() == nil {
			return
		}
		old := history[c.rng.IntN(len(history))]
		switch {
		case old == nil:
			return
		case c.rng.IntN(2) == 0:
			c.note("lease: restored, version number and all")
			c.server.Restore(old)
		default:
			c.edit("restored", func(l *coordinationv1.Lease) { l.Spec, l.Annotations = old.Spec, old.Annotations })
		}
		c.resets[len(c.server.History())-1] = true
	})
}

// muted: the watches stay open and deliver nothing any more.
func (c *cluster) muted(*node) bool {
	c.note("store: watches muted")
	c.server.Mute()
	return true
}

// clockSet: the wall clock steps, by hours.
func (c *cluster) clockSet(n *node) bool {
	n.setWall(c.upTo(20*time.Hour) - 10*time.Hour)
	return true
}

// removed: somebody takes the address away.
func (c *cluster) removed(n *node) bool {
	c.note("%s: address removed by hand", n.name)
	_, answers := n.kernel().answering()
	n.kernel().remove()
	return answers
}

// fought: a program takes the address away whenever it is there, for some seconds.
func (c *cluster) fought(n *node) bool {
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
	return true
}

// mendWithin is how long a holder with damaged tables is left in peace: who is killed
// before he could mend them, or while his interface is down, is not fenced any more.
// Of two accidents at once vipd gets over one.
const mendWithin = 500 * time.Millisecond

// damaged: somebody changes the tables of a holder that runs.
func (c *cluster) damaged(n *node) bool {
	p := n.running()
	if p == nil || !c.rules.damage || c.rules.lifetime {
		return false
	}
	runs, _ := p.steady()
	_, answers := p.k.answering()
	_, err := p.k.look()
	if s := p.standing(); !runs || !answers || err != nil || !s.Held || s.Until.Sub(p.k.now()) < time.Second {
		return false
	}
	n.setSpare(mendWithin)
	kind := c.rng.IntN(4)
	c.note("%s: tables damaged: %s", n.name, [...]string{"flushed", "no ticket in force", "nothing fenced", "prolonged"}[kind])
	p.k.damage(func() {
		for i := range p.k.tables.slots {
			switch s := &p.k.tables.slots[i]; kind {
			case 0:
				p.k.tables = tables{}
			case 1:
				s.inForce = false
			case 2:
				s.fenced = 0
			case 3:
				if s.armed > p.k.at {
					s.armed += time.Hour
				}
			}
		}
	})
	return true
}

// relinked: the interface goes down, or is another one, perhaps with another MAC.
func (c *cluster) relinked(n *node) bool {
	if n.spared() {
		return false
	}
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
	return true
}

// contested: a machine that is none of the nodes claims the address.
func (c *cluster) contested(*node) bool {
	c.note("a stranger claims the address")
	for _, n := range c.nodes {
		n.hear("mac-of-a-stranger")
	}
	return true
}

// deafened: announcements are lost on the way to a node.
func (c *cluster) deafened(n *node) bool {
	loss := uint64(c.rng.IntN(101))
	n.setLoss(loss)
	c.note("%s: hears %d%% of the frames", n.name, 100-loss)
	return true
}

package simulation

import (
	"fmt"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/vip"
)

// accidentKinds are drawn by weight. do tells whether the accident had an effect.
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
	{"slowed", 4, (*cluster).slowed},
	{"lagged", 6, (*cluster).lagged},
	{"left alone", 5, (*cluster).leftAlone},
	{"joined", 4, (*cluster).joined},
	{"cut off", 4, (*cluster).cutOff},
	{"served", 8, (*cluster).served},
	{"moved", 6, (*cluster).moved},
	{"reported", 4, (*cluster).reported},
	{"blanked", 3, (*cluster).blanked},
	{"note deleted", 1, (*cluster).noteDeleted},
	{"shortened", 1, (*cluster).shortened},
	{"stolen", 2, (*cluster).stolen},
	{"deleted", 2, (*cluster).deleted},
	{"forgotten", 2, (*cluster).forgotten},
	{"restored", 2, (*cluster).restored},
	{"muted", 3, (*cluster).muted},
	{"clock set", 3, (*cluster).clockSet},
	{"removed", 5, (*cluster).removed},
	{"fought", 1, (*cluster).fought},
	{"damaged", 5, (*cluster).damaged},
	{"relinked", 5, (*cluster).relinked},
	{"contested", 3, (*cluster).contested},
	{"deafened", 2, (*cluster).deafened},
	{"slewed", 8, (*cluster).slewed},
	{"copied", 5, (*cluster).copied},
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

// disturbed degrades the node's access to the store for a while.
func (c *cluster) disturbed(n *node) bool {
	c.degrades(n, storeAccess(1+c.rng.IntN(int(cut))), c.later())
	return true
}

func (c *cluster) degrades(n *node, w storeAccess, d time.Duration) {
	n.setStoreAccess(w)
	c.note("%s: access to the store %s", n.name, w)
	c.after(d, func() {
		n.setStoreAccess(fair)
		c.note("%s: access to the store %s", n.name, fair)
	})
}

// stormed degrades the access of all nodes.
func (c *cluster) stormed(*node) bool {
	for _, n := range c.nodes {
		c.disturbed(n)
	}
	return true
}

// slowed makes each write of the store slow for a while, as for etcd on a busy disk. No lease can
// be renewed if a write takes longer than an attempt.
func (c *cluster) slowed(*node) bool {
	return c.slows(c.upTo([...]time.Duration{100 * time.Millisecond, 800 * time.Millisecond, 2 * time.Second}[c.rng.IntN(3)]))
}

func (c *cluster) slows(most time.Duration) bool {
	c.note("store: %s for a write", most)
	c.sync.Store(int64(most))
	c.after(c.later(), func() {
		c.note("store: fast again")
		c.sync.Store(0)
	})
	return true
}

// lagged makes the cache of one API server lag behind the store for a while, so that it serves old
// versions.
func (c *cluster) lagged(*node) bool {
	i, lag := c.rng.IntN(len(c.caches)), c.upTo(8*time.Second)
	c.note("store: cache %d is %s behind", i, lag)
	c.caches[i].Store(int64(lag))
	c.after(c.later(), func() {
		c.note("store: cache %d has caught up", i)
		c.caches[i].Store(0)
	})
	return true
}

// cutOff cuts all nodes off from the store, as without a quorum.
func (c *cluster) cutOff(*node) bool { return c.cutStore(c.later(), func() {}) }

// cutStore cuts all nodes off from the store for a while, and calls do before the end.
func (c *cluster) cutStore(d time.Duration, do func()) bool {
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

// served changes what is known of the API servers, correctly or not.
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

// moved requests a move from the holder.
func (c *cluster) moved(n *node) bool {
	return c.ask([]string{election.AnyNode, n.self, nobody}[c.rng.IntN(3)])
}

// reported makes a node report the holder, correctly or not.
func (c *cluster) reported(n *node) bool {
	l := c.server.Lease()
	if l == nil || holderOf(l) == "" {
		return false
	}
	if p := n.running(); p != nil {
		p.manager.Unreached(n.self)
	}
	text := fmt.Sprintf(`{"by":%q,"holder":%q,"term":%d}`, n.self, holderOf(l), termOf(l))
	return c.edit(n.self+" reports the holder", func(l *coordinationv1.Lease) {
		metav1.SetMetaDataAnnotation(&l.ObjectMeta, election.UnreachedAnnotation, text)
	})
}

// nobody is the name of no node.
const nobody = "n99"

func (c *cluster) ask(to string) bool {
	return c.edit("move to "+to, func(l *coordinationv1.Lease) {
		if l.Annotations == nil {
			l.Annotations = make(map[string]string)
		}
		l.Annotations[election.MoveAnnotation] = to
	})
}

// edit changes the Lease by hand, if it exists.
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

// noteDeleted removes the note. The spec has to contain the right duration: otherwise, that would
// be two accidents.
func (c *cluster) noteDeleted(*node) bool {
	l := c.server.Lease()
	return l != nil && noteOf(l).Seconds == int(seconds(l)) &&
		c.edit("note deleted", func(l *coordinationv1.Lease) { delete(l.Annotations, election.Annotation) })
}

// shortened writes another, possibly invalid duration to the spec. The holder's note has to contain
// the right duration: otherwise, that would be two accidents.
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

// thief is a holder that a person wrote into the Lease, with the maximum duration: a shorter one
// would not say for how long the holder may go on.
const thief = "thief"

func (c *cluster) stolen(*node) bool {
	return c.edit("stolen", func(l *coordinationv1.Lease) {
		l.Spec.HolderIdentity, l.Spec.LeaseTransitions = new(thief), new(int32(termOf(l)+1))
		l.Spec.LeaseDurationSeconds = new(int32(c.most / time.Second))
	})
}

// deleted deletes the Lease, unless the nodes have leases of different durations, see
// TestDeletedAmongDifferentLeases, or the holder's lease is longer than that of a node that starts
// now and has not observed it.
func (c *cluster) deleted(n *node) bool {
	long := slices.ContainsFunc(c.nodes, func(n *node) bool { return n.kernel().right() > c.longest })
	return len(c.timings) == 1 && !long && c.deletedAnyway(n)
}

func (c *cluster) deletedAnyway(*node) bool {
	if c.server.Lease() == nil {
		return false
	}
	c.note("lease: deleted")
	c.server.Delete()
	c.resets[len(c.server.History())] = true
	return true
}

// forgotten deletes the Lease under a holder that cannot write, and lets the store or the API servers
// forget the history in three of four cases. All other nodes are new: none of them ever observed the
// holder.
func (c *cluster) forgotten(n *node) bool {
	if !c.rules.kills || !c.deleted(n) {
		return false
	}
	if c.rng.IntN(4) > 0 {
		c.note("store: history compacted")
		c.server.Compact()
	}
	holders, _ := c.holders()
	for _, n := range c.nodes {
		if slices.Contains(holders, n) {
			c.degrades(n, cut, c.most)
		} else if !n.spared() && n.crash() {
			c.after(c.upTo(100*time.Millisecond), func() { c.revive(n) })
		}
	}
	return len(holders) > 0
}

// restored restores an older version after an outage of the store that is longer than any lease,
// with its old version number or with a new one (etcdutl --bump-revision).
func (c *cluster) restored(*node) bool {
	return c.cutStore(c.most*3/2+time.Second, func() {
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

// muted stops the delivery of the watches without closing them.
func (c *cluster) muted(*node) bool {
	c.note("store: watches muted")
	c.server.Mute()
	return true
}

// clockSet steps the wall clock by hours.
func (c *cluster) clockSet(n *node) bool {
	n.setWall(c.upTo(20*time.Hour) - 10*time.Hour)
	return true
}

// slewed changes the rate of the clock at any moment, as an NTP client does.
func (c *cluster) slewed(n *node) bool {
	n.rates.slew = extreme(c.rng, c.rules.drift*float64(maxSlew))
	c.note("%s: clock slewed by %d ppm", n.name, n.rates.slew)
	slew, raw := n.rates.slow(c.rules.drift)
	n.kernel().changeRates(func(m *mark) { m.slow, m.rawSlow = slew, raw })
	if p := n.running(); p != nil {
		p.manager.Wake() // alarms follow the clock
	}
	return true
}

// removed removes the address by hand.
func (c *cluster) removed(n *node) bool {
	c.note("%s: address removed by hand", n.name)
	_, answers := n.kernel().answering()
	n.kernel().remove()
	return answers
}

// fought lets another program remove the address repeatedly for some seconds.
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

// repairWithin bounds for how long a holder with damaged tables is spared: a node whose process is
// killed, or whose interface goes down, before the first transaction of the repair is no longer
// fenced. vipd survives one accident at a time; from that transaction on, others may follow.
const repairWithin = 500 * time.Millisecond

// damaged changes the tables of a running holder.
func (c *cluster) damaged(n *node) bool {
	p := n.running()
	if p == nil || !c.rules.damage || c.rules.lifetime {
		return false
	}
	runs, _ := p.steady()
	_, answers := p.k.answering()
	_, err := p.k.look()
	if s := p.electionStatus(); !runs || p.hanging.Load() > 0 || !answers || err != nil || !s.Held || s.Until.Sub(p.k.now()) < time.Second {
		return false
	}
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

// relinked sets the interface down, or replaces it, perhaps with another MAC.
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

// contested lets another machine claim the address.
func (c *cluster) contested(*node) bool {
	c.note("a stranger claims the address")
	for _, n := range c.nodes {
		n.hear("mac-of-a-stranger")
	}
	return true
}

// deafened drops announcements to a node.
func (c *cluster) deafened(n *node) bool {
	loss := uint64(c.rng.IntN(101))
	n.setLoss(loss)
	c.note("%s: hears %d%% of the frames", n.name, 100-loss)
	return true
}

package simulation

import (
	"time"

	"github.com/vipd-io/vipd/pkg/vip"
)

// harmless are accidents, one at a time, to the holder or to another node, that are no reason to
// move or to stop answering.
var harmless = []struct {
	name string
	do   func(c *cluster, holder, other *node)
}{
	{"holder restarted", func(c *cluster, holder, _ *node) {
		// A holder with the address as its own goes on holding, but does not campaign after a
		// restart.
		if c.rules.kills && !*holder.kernel().planted.where(true) {
			holder.crash()
			c.after(c.upTo(200*time.Millisecond), func() { c.revive(holder) })
		}
	}},
	{"holder cut off for a call", func(c *cluster, holder, _ *node) {
		c.degrades(holder, refused+storeAccess(c.rng.IntN(2)), c.upTo(100*time.Millisecond))
	}},
	{"other killed", func(c *cluster, _, other *node) {
		if c.rules.kills {
			other.crash()
			c.after(c.later(), func() { c.revive(other) })
		}
	}},
	{"other stopped", func(c *cluster, _, other *node) {
		other.stop()
		c.after(c.later(), func() { c.revive(other) })
	}},
	{"other paused", func(c *cluster, _, other *node) {
		if p := other.running(); p != nil && c.rules.pause > 0 {
			p.pause(c.upTo(2 * c.longest))
		}
	}},
	{"other cut off", func(c *cluster, _, other *node) { c.degrades(other, storeAccess(1+c.rng.IntN(int(cut))), c.later()) }},
	{"other not ready", func(c *cluster, _, other *node) {
		if p := other.running(); p != nil {
			p.manager.Serves(vip.Serving{Local: vip.NotReady, Why: "simulated"})
		}
	}},
	{"others leave", func(c *cluster, holder, _ *node) {
		for _, n := range c.nodes {
			if n != holder {
				n.stop()
				c.after(c.later(), func() { c.revive(n) })
			}
		}
	}},
	{"store slow for a while", func(c *cluster, _, _ *node) { c.slows(100 * time.Millisecond) }},
	{"lagged", func(c *cluster, _, _ *node) { c.lagged(nil) }},
	{"blanked", func(c *cluster, _, _ *node) { c.blanked(nil) }},
	{"note deleted", func(c *cluster, _, _ *node) { c.noteDeleted(nil) }},
	{"shortened", func(c *cluster, _, _ *node) { c.shortened(nil) }},
	{"deleted", func(c *cluster, _, _ *node) { c.deleted(nil) }},
	{"muted", func(c *cluster, _, _ *node) { c.muted(nil) }},
	{"clock set", func(c *cluster, holder, _ *node) { c.clockSet(holder) }},
	{"clocks slewed", func(c *cluster, holder, other *node) { c.slewed(holder); c.slewed(other) }},
	{"contested", func(c *cluster, _, _ *node) { c.contested(nil) }},
	{"copied to the holder", func(c *cluster, holder, _ *node) { c.copies(holder, c.rng.IntN(2) == 0, c.later()) }},
	{"copied to another", func(c *cluster, _, other *node) { c.copies(other, c.rng.IntN(2) == 0, c.later()) }},
	{"asked to move to nobody", func(c *cluster, _, _ *node) { c.ask(nobody) }},
}

// quiet plays some harmless accidents; the node that answers must not stop.
func (c *cluster) quiet() {
	holders, since := c.holders()
	holder := holders[0]
	for range 5 {
		other := c.nodes[c.rng.IntN(len(c.nodes))]
		for other == holder {
			other = c.nodes[c.rng.IntN(len(c.nodes))]
		}
		h := harmless[c.rng.IntN(len(harmless))]
		c.note("no reason to move: %s (%s)", h.name, other.name)
		c.count(h.name)
		h.do(c, holder, other)
		c.until(c.longest + c.upTo(time.Second))
		if now, answers := holder.kernel().answering(); !answers || now != since {
			c.wrong(needless, "%s does not answer without a gap any more", holder.name)
			break
		}
	}
	c.heal()
	c.until(time.Second)
}

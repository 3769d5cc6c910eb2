package simulation

import (
	"cmp"
	"slices"
	"time"
)

// spread is the longest time between the first and the last process that is told to end, when all
// are: kubelets notice a changed manifest at about the same time.
const spread = time.Second

// handedOver bounds the time without an answer in a planned move: the release, the claim, and slow
// calls.
const handedOver = 100 * time.Millisecond

// restartEverywhere tells all processes to end, and starts each again a while after it has ended, as
// kubelets do after all manifests have changed. Meanwhile the address moves, and is away no longer
// than in planned moves.
func (c *cluster) restartEverywhere() {
	for _, n := range c.nodes {
		if p := n.running(); p != nil {
			p.manager.Serves(c.serves(n, c.nodes)) // one that has just started may not know the others
		}
	}
	began := c.now()
	c.count("restarted everywhere")
	last := c.upTo(spread) + 1
	for _, n := range c.nodes {
		c.after(c.upTo(last), func() {
			n.terminate(false)
			c.after(500*time.Millisecond+c.upTo(15*time.Second), func() { c.revive(n) })
		})
	}
	c.until(spread + waitForNext + 5*time.Second)
	for _, away := range c.away(began) {
		if d := away.to - away.from; d > handedOver {
			c.wrong(dark, "nobody answers for %s", d)
		}
	}
	c.until(time.Second)
}

// away returns the intervals without an answer since a time.
func (c *cluster) away(since time.Duration) (all []interval) {
	var answered []interval
	for _, n := range c.nodes {
		for _, k := range append(slices.Clone(n.past), n.k) {
			k.do(func() {
				answered = append(answered, k.answered...)
				if k.open != nil {
					i := *k.open
					i.to = c.now()
					answered = append(answered, i)
				}
			})
		}
	}
	slices.SortFunc(answered, func(a, b interval) int { return cmp.Compare(a.from, b.from) })
	for _, i := range append(answered, interval{from: c.now(), to: c.now()}) {
		if i.from > since {
			all = append(all, interval{from: since, to: i.from})
		}
		since = max(since, i.to)
	}
	return all
}

package simulation

import (
	"time"

	"github.com/vipd-io/vipd/pkg/vip"
)

// The number of nodes changes during a scenario: from all to one, and back. What a node learns of
// the others follows late, or never.

// leftAlone takes all nodes but one away for a while, each in its own way.
func (c *cluster) leftAlone(n *node) bool {
	if c.rules.kills && n.running() == nil {
		return false
	}
	c.note("%s: is left alone", n.name)
	for _, other := range c.nodes {
		switch {
		case other == n:
		case c.rules.kills && !other.spared() && c.rng.IntN(3) == 0:
			other.crash()
		case c.rules.kills && !other.spared() && c.rng.IntN(3) == 0:
			other.reboot()
		default:
			other.stop()
		}
	}
	c.after(c.upTo(2*time.Second), c.membersChanged)
	c.after(c.upTo(4*c.longest), func() { c.joined(n) })
	return true
}

// joined starts all missing nodes. Often the holder cannot write at that time, and so does not know
// of the others, or cannot act on that.
func (c *cluster) joined(*node) bool {
	holders, _ := c.holders()
	alone := len(c.alive()) == 1 && len(holders) == 1
	if alone && c.rng.IntN(2) == 0 && !c.calm() {
		c.degrades(holders[0], refused+storeAccess(c.rng.IntN(2)), c.later())
		c.count("candidates appear while the holder cannot write")
	}
	started := false
	for _, n := range c.nodes {
		if n.running() == nil {
			c.after(c.upTo(time.Second), func() { c.revive(n) })
			started = true
		}
	}
	c.after(c.upTo(3*time.Second), c.membersChanged)
	return started
}

// alive returns the nodes on which vipd runs.
func (c *cluster) alive() (all []*node) {
	for _, n := range c.nodes {
		if n.running() != nil {
			all = append(all, n)
		}
	}
	return all
}

// membersChanged tells most nodes which others there are.
func (c *cluster) membersChanged() {
	for _, n := range c.nodes {
		if p := n.running(); p != nil && c.rng.IntN(5) > 0 {
			p.manager.Serves(c.serves(n, c.alive()))
			p.setAlone(len(c.alive()) == 1)
		}
	}
}

// serves returns the state of the API servers as a node sees it, when all given nodes are ready.
func (c *cluster) serves(n *node, others []*node) vip.Serving {
	v := vip.Serving{Local: vip.Ready}
	for _, other := range others {
		if other != n {
			v.Peers = append(v.Peers, vip.Peer{Node: other.self, Ready: true})
		}
	}
	return v
}

package simulation

import "time"

// copies are addresses that another program put on a node, in the categories of pkg/netif
// (Presence). vipd must not remove them.
type copies struct {
	own     bool // on another link: an address of the node itself
	onLocal bool // on a link that leads nowhere: kube-proxy's kube-ipvs0
}

// copied adds a copy on a node, and removes it later.
func (c *cluster) copied(n *node) bool {
	return c.copies(n, c.rng.IntN(2) == 0, c.later())
}

// copies adds a copy on a node for a while, unless there is one.
func (c *cluster) copies(n *node, own bool, d time.Duration) bool {
	k := n.kernel()
	if *k.planted.where(own) {
		return false
	}
	c.note("%s: somebody has put the address on another link, the node's own: %t", n.name, own)
	k.do(func() { *k.planted.where(own), *k.copies.where(own) = true, true })
	n.changed()
	c.after(d, func() { c.uncopied(n, k, own) })
	return true
}

// uncopied removes a copy, which has to exist still.
func (c *cluster) uncopied(n *node, k *kernel, own bool) {
	if n.kernel() != k || !*k.planted.where(own) {
		return // lost in a reboot, or removed already
	}
	found := false
	k.do(func() {
		found = *k.copies.where(own)
		*k.planted.where(own), *k.copies.where(own) = false, false
	})
	if !found {
		c.wrong(touched, "the address that somebody else had put on %s was taken away", n.name)
	}
	n.changed()
}

func (p *copies) where(own bool) *bool {
	if own {
		return &p.own
	}
	return &p.onLocal
}

// removeCopies removes every copy of the address.
type removeCopies struct{ network }

func (g removeCopies) Remove() error {
	g.p.k.do(func() { g.p.k.copies = copies{} })
	return g.network.Remove()
}

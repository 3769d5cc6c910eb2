package simulation

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vipd-io/vipd/internal/bubble"
	"github.com/vipd-io/vipd/pkg/vip"
)

// The limits of vipd. Each test fails once vipd no longer has that limit: then add the case to the
// promises (ordinary, TestLifetimeAlone), and remove the exception there.

// TestPauseWithoutAFence: the process computes the remaining time of the lease, and a lifetime
// begins when the kernel gets the call. The fence's tickets cover a pause in between; without
// nftables there are no tickets.
func TestPauseWithoutAFence(t *testing.T) {
	t.Parallel()
	r := lifetimeAlone()
	r.trip = before(drawPut, 30, func(c *cluster) time.Duration { return 2 * c.longest })
	catch(t, r, twoAnswer)
}

// before returns pauses of a process at one of `often` calls, just before the call takes effect.
func before(call draw, often uint64, length func(*cluster) time.Duration) func(*node, draw) time.Duration {
	return func(n *node, d draw) time.Duration {
		if d != call || !n.oneIn(often, d+drawAgain) {
			return 0
		}
		return length(n.c)
	}
}

// TestLifetimeWithoutSlack: if there is a fence, the lifetime only cleans up, and ends up to 2.3 s
// after the deadline.
func TestLifetimeWithoutSlack(t *testing.T) {
	t.Parallel()
	r := lifetimeAlone()
	r.change = func(_ *process, s *dependencies) { s.fence = lifetime{} }
	catch(t, r, twoAnswer)
}

// TestKilledProcessAlone: without fence and lifetime, a killed process leaves its address.
func TestKilledProcessAlone(t *testing.T) {
	t.Parallel()
	r := processAlone()
	r.kills = true
	catch(t, r, twoAnswer)
}

// TestPauseThatOutlastsTheFence: the tables forget an address half a minute after its last ticket.
// A process that is stopped for longer, just before it adds the address, adds it with an open
// fence, and removes it a moment later.
func TestPauseThatOutlastsTheFence(t *testing.T) {
	t.Parallel()
	r := ordinary()
	r.trip, r.length = before(drawPut, 4, func(*cluster) time.Duration { return 50 * time.Second }), 100
	catch(t, r, twoAnswer)
}

// TestDeletedAmongDifferentLeases: a deleted Lease does not tell for how long its holder may go on.
// A node that never observed the Lease, and hears no ARP answer of the holder, waits for its own
// lease duration, which may be shorter.
func TestDeletedAmongDifferentLeases(t *testing.T) {
	t.Parallel()
	r := ordinary()
	r.leases = [][]time.Duration{{2 * time.Second, 10 * time.Second}}
	r.extra = func(c *cluster, _ *node) bool {
		holders, _ := c.holders()
		for _, n := range c.nodes {
			if slices.Contains(holders, n) {
				c.degrades(n, cut, c.most)
				continue
			}
			n.setLoss(100)
			n.crash()
			c.after(time.Millisecond, func() { c.revive(n) })
		}
		return c.deletedAnyway(nil)
	}
	catch(t, r, twoAnswer)
}

// stuck is a network in which one Put hangs inside the kernel.
type stuck struct {
	vip.Network
	p     *process
	hangs *atomic.Int64
}

func (s stuck) Put(places vip.Places, valid time.Duration) error {
	if d := time.Duration(s.hangs.Swap(0)); d > 0 && s.p.n.number == 0 {
		s.p.hangFor(drawPut, d)
		return s.p.k.put(places.First().Index, valid) // whatever happened to the process
	}
	return s.Network.Put(places, valid)
}

// two starts a holder and a standby, without further nodes.
func (c *cluster) two() (holder, other *node) {
	for _, n := range c.nodes[2:] {
		n.kernel().off()
	}
	c.nodes = c.nodes[:2]
	c.peace.Store(true)
	for _, n := range c.nodes {
		n.start()
		c.until(10 * time.Second)
	}
	return c.nodes[0], c.nodes[1]
}

// judge checks the promises for nodes that may have ended by themselves.
func (c *cluster) judge() {
	for _, n := range c.nodes {
		n.k.do(func() {}) // apply pending timeouts
	}
	c.verdict()
}

// TestPutThatOutlastsTheFence: the Put of a refresh hangs in the kernel for longer than the fence
// outlives its last ticket (30 s), its process is killed meanwhile, and the lease goes to another
// node.
func TestPutThatOutlastsTheFence(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		var hangs atomic.Int64
		c := newCluster(t, 1, rules{leases: [][]time.Duration{{3 * time.Second}},
			change: func(p *process, s *dependencies) { s.network = stuck{s.network, p, &hangs} }})
		n, other := c.two()
		hangs.Store(int64(90 * time.Second))
		c.until(3 * time.Second) // a renewal with a refresh, whose Put hangs
		n.setStoreAccess(cut)
		n.crash()
		c.until(2*time.Minute + 30*time.Second)
		other.stop()
		c.until(time.Minute)
		c.judge()
		if !slices.ContainsFunc(c.wrongs, func(w wrong) bool { return w.kind == twoAnswer }) {
			t.Error("no two nodes answered: add this to the promises")
		}
	})
}

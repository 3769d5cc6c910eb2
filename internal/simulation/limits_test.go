package simulation

import (
	"testing"
	"time"
)

// What vipd does not get over. Each test fails once it does: then it belongs among
// what is promised (ordinary, TestLifetimeAlone), and the exception made for it
// there is to go.

// TestPauseWithoutAFence: what is left of the lease is worked out in the process,
// and a lifetime begins when the kernel hears of it. A pause in between is what
// the fence's tickets are for; without nftables there are none.
func TestPauseWithoutAFence(t *testing.T) {
	t.Parallel()
	r := lifetimeAlone()
	r.trip = before(drawPut, 30, func(c *cluster) time.Duration { return 2 * c.longest })
	catch(t, r, twoAnswer)
}

// before pauses a process once in so many calls, just before they take effect.
func before(call draw, often uint64, length func(*cluster) time.Duration) func(*node, draw) time.Duration {
	return func(n *node, d draw) time.Duration {
		if d != call || !n.oneIn(often, d+drawAgain) {
			return 0
		}
		return length(n.c)
	}
}

// TestLifetimeWithoutSlack: beside a fence the lifetime is there to tidy up. It
// ends up to 2.3 s after the deadline.
func TestLifetimeWithoutSlack(t *testing.T) {
	t.Parallel()
	r := lifetimeAlone()
	r.change = func(_ *process, s *seams) { s.fence = lifetime{} }
	catch(t, r, twoAnswer)
}

// TestKilledProcessAlone: without fence and lifetime, a process that is killed
// leaves its address.
func TestKilledProcessAlone(t *testing.T) {
	t.Parallel()
	r := processAlone()
	r.kills = true
	catch(t, r, twoAnswer)
}

// TestPauseThatOutlastsTheFence: the tables forget an address half a minute after
// its last ticket. A process that is stopped for longer, just before it puts the
// address up, puts it up on an open fence, and takes it away a moment later.
func TestPauseThatOutlastsTheFence(t *testing.T) {
	t.Parallel()
	r := ordinary()
	r.trip, r.length = before(drawPut, 4, func(*cluster) time.Duration { return 50 * time.Second }), 100
	catch(t, r, twoAnswer)
}

// TestDeletedAmongDifferentLeases: a Lease that is deleted says no more for how
// long its holder may go on. Who has a shorter lease of its own waits for that.
func TestDeletedAmongDifferentLeases(t *testing.T) {
	t.Parallel()
	r := ordinary()
	r.leases, r.extra = [][]time.Duration{{2 * time.Second, 10 * time.Second}}, (*cluster).deletedAnyway
	catch(t, r, twoAnswer)
}

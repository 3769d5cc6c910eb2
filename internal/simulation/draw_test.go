package simulation

import (
	"slices"
	"time"
)

// draw names a random decision of a node. The result follows from the seed, the node, the name and
// the time, and does not depend on the order of goroutines.
type draw uint64

const (
	drawGrain draw = iota
	drawRemoval
	drawPrepare
	drawArm
	drawPermit
	drawForbid
	drawClear
	drawRemove
	drawRepair
	drawPut
	drawDivert
	drawTake
	drawLook
	drawGlance
	drawFence
	drawClock
	drawElector
	drawManager
	drawHold
	drawAnswer
	drawStream
	drawRequest
	drawFault
	drawWall
	drawFrame
	drawLength
	drawEvent
	drawMutation
	drawEnd
)

// Further random numbers for the same name at the same time.
const (
	drawBehind draw = 1 << (16 + iota)
	drawAgain
	drawMore
	drawFailure
	drawHang
	drawTie
	drawNap
)

// mix is a step of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (n *node) random(d draw) uint64 {
	return mix(mix(mix(n.c.seed)+uint64(n.number)<<40+uint64(d)) + uint64(n.c.now()))
}

// below draws a duration below limit.
func (n *node) below(limit time.Duration, d draw) time.Duration {
	return time.Duration(n.random(d) % uint64(limit))
}

// oneIn is true with a probability of 1/times.
func (n *node) oneIn(times uint64, d draw) bool { return n.random(d)%times == 0 }

// tie separates actions at the same time, so that the seed decides on their order, not the
// scheduler.
func (n *node) tie(d draw) { time.Sleep(n.below(5*time.Microsecond, d+drawTie)) }

// latency draws the duration of a call into the kernel.
func (n *node) latency(d draw) time.Duration {
	if !n.c.calm() && n.oneIn(40, d+drawMore) {
		return n.below(50*time.Millisecond, d)
	}
	return 100*time.Microsecond + n.below(1500*time.Microsecond, d)
}

// fails draws whether a call into the kernel fails.
func (n *node) fails(d draw) bool {
	return d&^drawBehind != drawPrepare && n.oneIn(200, d+drawFailure) && !n.spared()
}

// hangs draws for how long a call into the kernel hangs, mostly 0.
func (n *node) hangs(d draw) time.Duration {
	often := uint64(400)
	if slices.Contains(n.c.rules.hung, d) {
		often = 20
	}
	if n.c.rules.hang == 0 || d&^drawBehind == drawPrepare || !n.oneIn(often, d+drawHang) || n.spared() {
		return 0
	}
	return n.below(n.c.rules.hang, d+drawHang+drawLength)
}

// pauseAt draws for how long the process is paused here, mostly 0.
func (n *node) pauseAt(d draw) time.Duration {
	often := uint64(100)
	if d == drawClock {
		often = 3000 // the clock is read at every step
	}
	switch {
	case n.spared():
		return 0
	case n.c.rules.trip != nil:
		return n.c.rules.trip(n, d)
	case n.c.rules.pause == 0 || !n.oneIn(often, d+drawAgain):
		return 0
	}
	return n.c.pauseLength(n.random(d + drawLength))
}

// pauseLength draws the length of a pause: mostly short, sometimes longer than a lease, and rarely
// the maximum of the rules.
func (c *cluster) pauseLength(random uint64) time.Duration {
	limit := min(c.rules.pause, 300*time.Millisecond)
	switch kind := random >> 32 % 20; {
	case kind == 0:
		limit = c.rules.pause
	case kind < 10:
		limit = min(c.rules.pause, 2*c.longest)
	}
	return time.Duration(mix(random)%uint64(limit)) + 1
}

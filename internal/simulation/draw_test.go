package simulation

import "time"

// draw names what a node draws lots for. What comes of it follows from the seed,
// the node, the name and the time, and not from which goroutine asks first.
type draw uint64

const (
	drawGrain draw = iota
	drawRemoval
	drawPrepare
	drawArm
	drawPermit
	drawForbid
	drawRest
	drawRemove
	drawMend
	drawPut
	drawDivert
	drawTake
	drawLook
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
)

// Further lots of the same name at the same time.
const (
	drawBehind draw = 1 << (16 + iota)
	drawAgain
	drawMore
	drawFailure
	drawTie
)

// mix is a step of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (n *node) lot(d draw) uint64 {
	return mix(mix(mix(n.c.seed)+uint64(n.number)<<40+uint64(d)) + uint64(n.c.now()))
}

// below draws a time.
func (n *node) below(limit time.Duration, d draw) time.Duration {
	return time.Duration(n.lot(d) % uint64(limit))
}

// oneIn is true once in so many times.
func (n *node) oneIn(times uint64, d draw) bool { return n.lot(d)%times == 0 }

// tie has what would happen at the same time happen in an order that the seed
// tells, and not the scheduler.
func (n *node) tie(d draw) { time.Sleep(n.below(5*time.Microsecond, d+drawTie)) }

// latency is how long a call into the kernel takes.
func (n *node) latency(d draw) time.Duration {
	if !n.c.calm() && n.oneIn(40, d+drawMore) {
		return n.below(50*time.Millisecond, d)
	}
	return 100*time.Microsecond + n.below(1500*time.Microsecond, d)
}

// fails tells whether a call into the kernel does.
func (n *node) fails(d draw) bool {
	return d != drawPrepare && n.oneIn(200, d+drawFailure) && !n.spared()
}

// stumbles is for how long the process is paused here, mostly not at all.
func (n *node) stumbles(d draw) time.Duration {
	often := uint64(100)
	if d == drawClock {
		often = 3000 // it is read at every turn
	}
	switch {
	case n.spared():
		return 0
	case n.c.rules.trip != nil:
		return n.c.rules.trip(n, d)
	case n.c.rules.pause == 0 || !n.oneIn(often, d+drawAgain):
		return 0
	}
	return n.c.pauseLength(n.lot(d + drawLength))
}

// pauseLength is mostly short, at times longer than a lease, and seldom as long as
// the rules allow.
func (c *cluster) pauseLength(lot uint64) time.Duration {
	limit := min(c.rules.pause, 300*time.Millisecond)
	switch kind := lot >> 32 % 20; {
	case kind == 0:
		limit = c.rules.pause
	case kind < 10:
		limit = min(c.rules.pause, 2*c.longest)
	}
	return time.Duration(mix(lot)%uint64(limit)) + 1
}

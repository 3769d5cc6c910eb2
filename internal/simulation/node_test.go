package simulation

import (
	"fmt"
	"sync"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/vip"
)

// node is a machine: its kernel goes on whatever becomes of the process, and ends
// with a reboot.
type node struct {
	c      *cluster
	number int
	name   string
	self   string // what it is called in the cluster
	slow   int64  // millionths by which its clock is

	mu     sync.Mutex
	boots  int
	k      *kernel
	past   []*kernel // earlier boots
	p      *process  // the newest, nil before the first
	all    []*process
	sky    weather
	wall   time.Duration // how far its wall clock is off
	loss   uint64        // percent of the frames that it does not hear
	spare  time.Duration // no accident happens to it before
	asking bool          // an orderly stop is under way
}

func (c *cluster) newNode(i int) *node {
	n := &node{c: c, number: i, name: fmt.Sprintf("n%d", i)}
	n.self = n.name
	// Many are as fast or as slow as they may be.
	n.slow = int64(min(1, max(0, 2*c.rng.Float64()-0.5)) * c.drift())
	c.clockSet(n)
	n.boot()
	return n
}

// drift is by how many millionths two clocks may differ: what the margin is for,
// two percent each way at most. A holder that is slow by f ends at (L-M+grain)/(1-f);
// a candidate that is not claims at L.
func (c *cluster) drift() float64 {
	most := 0.04
	for _, t := range c.timings {
		most = min(most, 0.95*(t.Margin-grain).Seconds()/t.Lease.Seconds())
	}
	return c.rules.drift * most * 1e6
}

// boot begins with another clock and nothing of vipd's.
func (n *node) boot() {
	link := vip.Link{Index: 2, MAC: "mac-of-" + n.name, Up: true}
	if n.k != nil {
		n.k.off()
		n.past = append(n.past, n.k)
		n.k.do(func() { link.MAC = n.k.link.MAC })
	}
	n.boots++
	c := clock{slow: n.slow}
	c.boot = boottime.Instant(n.below(time.Hour, drawWall)) - c.at(n.c.now()) + boottime.Instant(time.Minute)
	n.k = newKernel(n, c, link)
}

func (n *node) bootID() string { return fmt.Sprintf("boot-%d-of-%s", n.boots, n.name) }

// start runs vipd. One that is still ending has the lock: then nothing happens.
func (n *node) start() bool {
	if n.p != nil && !n.p.ended() && !n.isKilled() {
		return false
	}
	p := n.newProcess(n.c.timings[n.c.rng.IntN(len(n.c.timings))])
	n.mu.Lock()
	n.p = p
	n.all = append(n.all, p)
	n.asking = false
	n.mu.Unlock()
	p.start(n.c.t.Context())
	n.c.note("%s: started, lease %s", n.name, p.timing.Lease)
	return true
}

func (n *node) isKilled() bool {
	n.p.mu.Lock()
	defer n.p.mu.Unlock()
	return n.p.killed
}

// running is the process, if it is neither ended nor ending.
func (n *node) running() *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.p == nil || n.asking || n.p.ended() || n.isKilled() {
		return nil
	}
	return n.p
}

// crash kills the process, even if it is ending.
func (n *node) crash() bool {
	if n.p == nil || n.p.ended() || n.isKilled() {
		return false
	}
	n.p.kill()
	n.c.note("%s: killed", n.name)
	return true
}

// stop asks the process to end, and looks at what it left when it has.
func (n *node) stop() bool {
	p := n.running()
	if p == nil {
		return false
	}
	n.mu.Lock()
	n.asking = true
	n.mu.Unlock()
	n.c.note("%s: told to end", n.name)
	ran, before := p.steady()
	asked := n.c.now()
	p.stop()
	go func() {
		<-p.done
		took := n.c.now() - asked
		n.c.note("%s: ended after %s: %v", n.name, took, p.err)
		runs, pauses := p.steady()
		if ran && runs && pauses == before && took > exitWithin {
			n.c.wrong(slowExit, "%s took %s to end", n.name, took)
		}
		if left := p.k.leftovers(); p.err == nil && len(left) > 0 {
			n.c.wrong(leftBehind, "%s left %v behind", n.name, left)
		}
	}()
	return true
}

// exitWithin is what docs/guarantees.md promises, as far as nobody holds the
// process up.
const exitWithin = time.Second

// reboot is a crash of the whole machine.
func (n *node) reboot() {
	n.crash()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.boot()
	n.c.note("%s: rebooted", n.name)
}

// changed is netlink's word to the process. At times it is lost.
func (n *node) changed() {
	n.mu.Lock()
	p := n.p
	n.mu.Unlock()
	if p != nil && (n.spared() || !n.oneIn(10, drawEvent)) {
		p.manager.Changed()
	}
}

// kernel is that of the present boot.
func (n *node) kernel() *kernel {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.k
}

func (n *node) setSpare(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.spare = n.c.now() + d
}

// spared tells whether accidents stay away from the node at the moment.
func (n *node) spared() bool {
	if n.c.calm() {
		return true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.c.now() < n.spare
}

func (n *node) wallClock() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.wall
}

func (n *node) setWall(off time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wall = off
	n.c.note("%s: wall clock off by %s", n.name, off)
}

func (n *node) setLoss(percent uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loss = percent
}

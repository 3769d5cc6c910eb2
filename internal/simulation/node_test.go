package simulation

import (
	"fmt"
	"sync"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/vip"
)

// node is a machine: its kernel does not depend on the process, and ends with a reboot.
type node struct {
	c      *cluster
	number int
	name   string
	self   string // its name in the cluster
	rates  rates  // of its clocks

	mu     sync.Mutex
	boots  int
	k      *kernel
	past   []*kernel // earlier boots
	p      *process  // the newest, nil before the first
	all    []*process
	sky    storeAccess
	wall   time.Duration // the offset of its wall clock
	loss   uint64        // percentage of lost frames
	spare  time.Duration // no accident before that time
	asking bool          // an orderly stop is in progress
}

func (c *cluster) newNode(i int) *node {
	n := &node{c: c, number: i, name: fmt.Sprintf("n%d", i)}
	n.self = n.name
	n.rates = rates{slew: extreme(c.rng, c.rules.drift*float64(maxSlew)), crystal: extreme(c.rng, c.rules.drift*maxCrystal)}
	c.clockSet(n)
	n.boot()
	return n
}

// boot begins a boot with another clock and without anything of vipd.
func (n *node) boot() {
	link := vip.Link{Index: 2, MAC: "mac-of-" + n.name, Up: true}
	if n.k != nil {
		n.k.off()
		n.past = append(n.past, n.k)
		n.k.do(func() { link.MAC = n.k.link.MAC })
	}
	n.boots++
	// Each clock starts at another time, and all of them some leases ago.
	since := n.below(time.Hour, drawWall) + time.Minute
	m := mark{at: n.c.now(), boot: boottime.Instant(since), jiffies: since / 2, raw: boottime.Raw(since / 3)}
	m.slow, m.rawSlow = n.rates.slow(n.c.rules.drift)
	n.k = newKernel(n, &clock{marks: []mark{m}}, link)
}

// machine returns the machine id, which a clone shares. Some nodes have none.
func (n *node) machine() string {
	if n.number%3 == 2 {
		return ""
	}
	return "machine-of-" + n.self
}

func (n *node) bootID() string { return fmt.Sprintf("boot-%d-of-%s", n.boots, n.name) }

// start runs vipd. It does nothing while the lock is held: by a process that is still ending, or by
// one with a thread inside the kernel, killed or not.
func (n *node) start() bool {
	if n.p != nil && (!n.p.ended() && !n.isKilled() || n.p.k == n.k && n.p.hanging.Load() > 0) {
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

// running returns the process if it is neither ended nor ending.
func (n *node) running() *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.p == nil || n.asking || n.p.ended() || n.isKilled() {
		return nil
	}
	return n.p
}

// crash kills the process, even one that is ending.
func (n *node) crash() bool {
	if n.p == nil || n.p.ended() || n.isKilled() {
		return false
	}
	n.p.kill()
	n.c.note("%s: killed", n.name)
	return true
}

// stop terminates the process, with one signal or with two, and checks what it left.
func (n *node) stop() bool { return n.terminate(n.oneIn(2, drawEnd)) }

// terminate sends the signals that RunGroups of internal/daemon takes.
func (n *node) terminate(twice bool) bool {
	p := n.running()
	if p == nil {
		return false
	}
	n.mu.Lock()
	n.asking = true
	n.mu.Unlock()
	n.c.note("%s: told to end, twice: %t", n.name, twice)
	ran, before := p.steady()
	asked, hangs, hung := n.c.now(), p.hangs.Load(), p.hanging.Load() > 0
	within := exitWithin
	p.tell()
	if twice {
		p.stop()
	} else {
		within += waitForNext
		time.AfterFunc(waitForNext, p.stop)
	}
	go func() {
		<-p.done
		took := n.c.now() - asked
		n.c.note("%s: ended after %s: %v", n.name, took, p.err)
		runs, pauses := p.steady()
		if hung || p.hangs.Load() > hangs {
			within += hungExit
		}
		if ran && runs && pauses == before && took > within {
			n.c.wrong(slowExit, "%s took %s to end", n.name, took)
		}
		if left := p.k.leftovers(); runs && p.err == nil && len(left) > 0 { // else it may belong to a process that was started since
			n.c.wrong(leftBehind, "%s left %v behind", n.name, left)
		}
	}()
	return true
}

// waitForNext is that of internal/daemon.
const waitForNext = 28 * time.Second

// exitWithin is the promise of docs/guarantees.md, without external delays.
const exitWithin = time.Second

// hungExit is the additional time if a call hangs: the last Arm and the removal of the tables have
// half a second each (pkg/fence).
const hungExit = time.Second

// reboot crashes the whole machine.
func (n *node) reboot() {
	n.crash()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.boot()
	n.c.note("%s: rebooted", n.name)
}

// changed delivers a netlink notification to the process. Some are lost.
func (n *node) changed() {
	n.mu.Lock()
	p := n.p
	n.mu.Unlock()
	if p != nil && (n.spared() || !n.oneIn(10, drawEvent)) {
		p.manager.Changed()
	}
}

// kernel returns the kernel of the current boot.
func (n *node) kernel() *kernel {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.k
}

func (n *node) setSpare(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.spare = max(n.spare, n.c.now()+d)
}

// spared tells whether the node is spared from accidents now.
func (n *node) spared() bool {
	if n.c.calm() {
		return true
	}
	k := n.kernel()
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.c.now() < max(n.spare, time.Duration(k.exposed.Load()))
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

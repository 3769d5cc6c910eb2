package simulation

import (
	"context"
	"sync"
	"time"

	"github.com/vipd-io/vipd/pkg/vip"
)

// announcer models pkg/arp's Announcer: it checks Holds before each frame, and repeats announcements on
// the schedule of pkg/arp.
type announcer struct {
	p    *process
	mine func() bool
	wake chan struct{} // one slot

	mu     sync.Mutex
	target *vip.Link
	count  int // of targets, so that a frame for an earlier one is not sent
}

// Announce sends the first frames before it returns.
func (v *announcer) Announce(p vip.Places) {
	l := p.First()
	if v.p.pass(drawFrame) != nil {
		return
	}
	v.set(&l)
	v.send()
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// Silence ends the announcements.
func (v *announcer) Silence() {
	if v.p.pass(drawFrame) == nil {
		v.set(nil)
	}
}

func (v *announcer) set(l *vip.Link) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.target = l
	v.count++
}

func (v *announcer) aim() (target *vip.Link, count int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.target, v.count
}

// Defend announces once more.
func (v *announcer) Defend() { v.send() }

// Probe asks for the address by ARP, unless this node announces it.
func (v *announcer) Probe(vip.Places) {
	if target, _ := v.aim(); target == nil && v.p.pass(drawFrame) == nil {
		v.p.n.c.probe(v.p.n)
	}
}

// Inquire is not needed: all claims are announcements.
func (v *announcer) Inquire(vip.Places) {}

// send holds no lock while the clock is read, because the process may be paused there. The one
// stale announcement of docs/guarantees.md, after a pause between the check and the frame, is left
// out.
func (v *announcer) send() {
	target, count := v.aim()
	_, before := v.p.steady()
	if target == nil || !v.mine() {
		return
	}
	_, now := v.aim()
	if _, pauses := v.p.steady(); pauses != before || now != count || v.p.pass(drawFrame) != nil {
		return
	}
	if late := v.p.k.now().Sub(v.p.deadline()); late >= 0 {
		v.p.n.c.wrong(staleFrame, "%s announces the address %s after its deadline", v.p.n.name, late)
	}
	v.p.n.c.broadcast(v.p.n, target.MAC)
}

func (v *announcer) run(ctx context.Context) {
	timer := time.NewTimer(time.Minute)
	defer timer.Stop()
	step := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-v.wake:
			step = 0
		case <-timer.C:
			v.send()
			step++
		}
		timer.Reset(framePause(step, v.p.timing.Lease))
	}
}

// framePause is the schedule of pkg/arp.
func framePause(step int, lease time.Duration) time.Duration {
	opening := [...]time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 900 * time.Millisecond}
	switch {
	case step < len(opening):
		return opening[step]
	case 1200*time.Millisecond+time.Duration(step-len(opening))*time.Second < max(5*time.Second, lease):
		return time.Second
	}
	return 30 * time.Second
}

// broadcast delivers a claim to the other nodes, unless it is lost.
func (c *cluster) broadcast(from *node, mac string) {
	for _, n := range c.nodes {
		if n != from && !n.misses() {
			time.AfterFunc(50*time.Microsecond+n.below(time.Millisecond, drawFrame), func() { n.hear(mac) })
		}
	}
}

// probe delivers the answers to a probe.
func (c *cluster) probe(by *node) {
	for _, n := range c.nodes {
		if n == by || n.misses() || by.misses() {
			continue
		}
		time.AfterFunc(50*time.Microsecond+n.below(time.Millisecond, drawFrame+drawAgain), func() {
			k := n.kernel()
			if _, answers := k.answering(); answers {
				by.hear(k.mac())
			}
		})
	}
}

// misses draws whether a frame is lost.
func (n *node) misses() bool {
	n.mu.Lock()
	loss := n.loss
	n.mu.Unlock()
	return n.random(drawFrame+drawMore)%100 < loss
}

// hear models the socket of pkg/arp's Listener.
func (n *node) hear(mac string) {
	p := n.running()
	if p == nil || mac == p.k.mac() {
		return
	}
	select {
	case p.frames <- mac:
	default:
	}
}

// listen passes claims to the Manager, as internal/daemon does.
func (p *process) listen(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case mac := <-p.frames:
			if p.pass(drawFrame) == nil {
				p.manager.Claimed(mac, false)
			}
		}
	}
}

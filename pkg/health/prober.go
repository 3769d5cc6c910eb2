package health

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// prober probes one server. It does not wait for a probe before the next one: a
// server that hangs is found out in less than the time of a single probe.
type prober struct {
	m    *Monitor
	name string
	wake chan struct{}      // one slot: probe now
	end  context.CancelFunc // a peer's

	judge judge // under the Monitor's lock
}

// maxPending bounds the probes under way.
const maxPending = 10

// minGap keeps a server that breaks every connection from being asked for each.
const minGap = 20 * time.Millisecond

func newProber(m *Monitor, name string) *prober {
	return &prober{m: m, name: name, wake: make(chan struct{}, 1)}
}

// server needs the lock.
func (p *prober) server() Server {
	s := Server{Name: p.name, Verdict: p.judge.verdict}
	if s.Verdict == NotReady {
		s.Why = p.judge.why
	}
	return s
}

func (p *prober) run(ctx context.Context) {
	var probes sync.WaitGroup
	defer probes.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	last, forced := p.m.now().Add(-standbyPeer), false
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-p.wake:
			forced = p.wakeful()
		}
		now := p.m.now()
		if now >= last.Add(p.pause(now, forced)) {
			last, forced = now, false
			if p.start(now) {
				probes.Go(func() { p.probe(ctx, now) })
			}
		}
		timer.Reset(last.Add(p.pause(now, forced)).Sub(now))
	}
}

// wakeful tells whether the server is asked out of turn: not one that is asked
// often enough, nor one that is short of time.
func (p *prober) wakeful() bool {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	return p.judge.verdict != NotReady && !p.judge.strained()
}

// pause is the time between the last probe and the next one.
func (p *prober) pause(now boottime.Instant, forced bool) time.Duration {
	if forced {
		return minGap
	}
	return p.pace(now)
}

// pace is that while nobody asks for one.
func (p *prober) pace(now boottime.Instant) time.Duration {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	p.judge.settle(now)
	p.m.review()
	own := p == p.m.local
	switch {
	case own && p.m.holding:
		return cmp.Or(p.judge.doubt(), holderOwn)
	case own:
		return cmp.Or(p.judge.doubt(), standbyOwn)
	case p.m.troubled && !p.judge.strained():
		return recovery
	case p.m.holding:
		return holderPeer
	}
	return standbyPeer
}

// start notes a probe, unless too many are under way.
func (p *prober) start(now boottime.Instant) bool {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if len(p.judge.pending) >= maxPending {
		return false
	}
	p.judge.sent(now)
	return true
}

// probe asks once and takes in the answer.
func (p *prober) probe(ctx context.Context, sent boottime.Instant) {
	asked, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	f, why := read(p.m.opts.Ask(asked, p.name))
	if ctx.Err() != nil {
		return
	}
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	p.judge.answered(sent, f, why)
	p.judge.settle(p.m.now())
	p.m.review()
	if p == p.m.local && p.judge.verdict == Ready && p.judge.doubt() == hurry && p.judge.failings+p.judge.unclears == 1 {
		poke(p.wake) // is it so?
	}
}

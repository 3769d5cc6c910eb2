package health

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// prober probes one server. The next probe does not wait for the one before: a server that hangs is
// detected in less than the timeout of a single probe.
type prober struct {
	m    *Monitor
	name string
	wake chan struct{}      // one slot: probe now
	end  context.CancelFunc // for a peer

	judge judge // protected by the Monitor's lock
}

// maxPending bounds the probes in flight.
const maxPending = 10

// minGap limits the probes of a server that breaks every connection.
const minGap = 20 * time.Millisecond

func newProber(m *Monitor, name string) *prober {
	return &prober{m: m, name: name, wake: make(chan struct{}, 1)}
}

// server returns the state of the server. The caller holds the lock.
func (p *prober) server() Server {
	s := Server{Name: p.name, Verdict: p.judge.verdict, Since: p.judge.ready}
	if s.Verdict == NotReady {
		s.Why = p.judge.why
	}
	return s
}

func (p *prober) run(ctx context.Context) {
	var probes sync.WaitGroup
	defer probes.Wait()
	// A goroutine that has probed waits for the next probe: a new one would have to grow its stack
	// each time.
	next := make(chan boottime.Instant)
	defer close(next)
	timer := time.NewTimer(0)
	defer timer.Stop()
	last, forced := p.m.now().Add(-standbyPeer), false
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-p.wake:
			forced = p.probeOutOfTurn()
		}
		now := p.m.now()
		if now >= last.Add(p.pause(now, forced)) {
			last, forced = now, false
			if p.start(now) {
				select {
				case next <- now:
				default:
					probes.Go(func() {
						p.probe(ctx, now)
						for sent := range next {
							p.probe(ctx, sent)
						}
					})
				}
			}
		}
		timer.Reset(last.Add(p.pause(now, forced)).Sub(now))
	}
}

// probeOutOfTurn tells whether an extra probe is useful: not if the server is probed often enough,
// or is short of time.
func (p *prober) probeOutOfTurn() bool {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	return p.judge.verdict != NotReady && !p.judge.overloaded()
}

// pause returns the interval between the last probe and the next one.
func (p *prober) pause(now boottime.Instant, forced bool) time.Duration {
	if forced {
		return minGap
	}
	return p.pace(now)
}

// pace returns the interval without a request for an extra probe.
func (p *prober) pace(now boottime.Instant) time.Duration {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	p.judge.evaluate(now)
	p.m.update()
	own := p == p.m.local
	switch {
	case own && p.m.holding:
		return cmp.Or(p.judge.urgency(), holderOwn)
	case own:
		return cmp.Or(p.judge.urgency(), standbyOwn)
	case p.m.suspect && !p.judge.overloaded():
		return recoveryInterval
	case p.m.holding:
		return holderPeer
	}
	return standbyPeer
}

// start records a probe, unless too many are in flight.
func (p *prober) start(now boottime.Instant) bool {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if len(p.judge.pending) >= maxPending {
		return false
	}
	p.judge.sent(now)
	return true
}

// probe probes once and records the result.
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
	p.judge.evaluate(p.m.now())
	p.m.update()
	if p == p.m.local && p.judge.verdict == Ready && p.judge.urgency() == errorInterval && p.judge.failings+p.judge.unclears == 1 {
		signal(p.wake) // confirm a single failure at once
	}
}

// Package reach measures for how long the VIP does not answer, by probing it as a client does.
// While probes are answered, the interval is long; after a failed probe it is short, so that the
// end of an outage is known to about 50 ms, and its beginning to the interval between two probes,
// or better if the caller announces a change of the holder (Nudge).
package reach

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Outage is a time in which no probe was answered.
type Outage struct {
	// Began is when the first failed probe was sent, Ended when the first answer after it came;
	// Ended is 0 during an outage.
	Began, Ended boottime.Instant
	// Err is the error of the first failed probe.
	Err error
}

// Options configures a Prober.
type Options struct {
	// Ask sends one probe; any answer counts as success. known is false if no probe was sent.
	Ask func(context.Context) (known bool, err error)
	// Every is the interval between two probes while they are answered.
	Every time.Duration
	// Idle, if set, tells whether probes are unnecessary, because the VIP is on this node.
	Idle func() bool
	// Expected, if set, tells whether an answer is to be expected even if there never was one: some
	// node holds the VIP. Else there is no outage before the first answer.
	Expected func() bool
	// Observe is called when an outage begins, and once more when it ends. Observe must
	// not block.
	Observe func(Outage)
	// Now is the clock, nil for CLOCK_BOOTTIME.
	Now boottime.Clock
}

const (
	// timeout is less than the time after which Linux retransmits a SYN, so that an answer belongs
	// to a packet that was sent just before (tcp(7)).
	timeout = 900 * time.Millisecond
	// pendingPause is the interval between two probes while one has no answer yet. In an outage the
	// interval is outagePause at first, and later 1/outageShare of the duration so far: a long
	// outage costs little, and its relative error is the same.
	pendingPause, outagePause = 100 * time.Millisecond, 50 * time.Millisecond
	outageShare               = 20
	// maxPending bounds the probes in flight.
	maxPending = 18
)

// Prober sends the probes. Create it with New and call Run.
type Prober struct {
	opts   Options
	wake   chan struct{} // one slot
	failed atomic.Int64  // see Failed
}

// New returns a Prober that sends nothing before Run.
func New(opts Options) *Prober {
	if opts.Now == nil {
		opts.Now = boottime.Now
	}
	if opts.Idle == nil {
		opts.Idle = func() bool { return false }
	}
	if opts.Expected == nil {
		opts.Expected = func() bool { return false }
	}
	return &Prober{opts: opts, wake: make(chan struct{}, 1)}
}

// Nudge requests a probe now. It does not block.
func (p *Prober) Nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Failed returns when the newest probe that failed was sent, 0 for none. A process that was stopped
// for a minute may have one failed probe, sent a minute ago, and no outage of a minute.
func (p *Prober) Failed() boottime.Instant { return boottime.Instant(p.failed.Load()) }

// answer is the outcome of a probe.
type answer struct {
	sent, came boottime.Instant
	known      bool
	err        error
}

// Run sends probes until ctx ends. The error is always nil.
func (p *Prober) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	answers := make(chan answer, maxPending)
	timer := time.NewTimer(p.opts.Every)
	defer timer.Stop()
	var r record
	pending, asked := 0, p.opts.Now()
	for {
		due := false
		select {
		case <-ctx.Done():
			return nil
		case a := <-answers:
			pending--
			if a.known && a.err != nil {
				p.failed.Store(max(p.failed.Load(), int64(a.sent)))
			}
			if r.answered(a, p.opts.Expected()) {
				p.opts.Observe(r.outage)
			}
		case <-p.wake:
			due = true
		case <-timer.C:
			due = true
		}
		if due && pending < maxPending && (r.ongoing() || pending > 0 || !p.opts.Idle()) {
			pending++
			asking.Go(func() { answers <- p.ask(ctx) })
		}
		if due {
			asked = p.opts.Now()
		}
		timer.Reset(asked.Add(p.pause(&r, pending)).Sub(p.opts.Now()))
	}
}

// pause returns the interval to the next probe.
func (p *Prober) pause(r *record, pending int) time.Duration {
	switch {
	case r.ongoing():
		return max(outagePause, p.opts.Now().Sub(r.outage.Began)/outageShare)
	case pending > 0:
		return min(pendingPause, p.opts.Every)
	}
	return p.opts.Every
}

func (p *Prober) ask(ctx context.Context) answer {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	a := answer{sent: p.opts.Now()}
	a.known, a.err = p.opts.Ask(ctx)
	a.came = p.opts.Now()
	return a
}

// Package reach measures for how long the address does not answer, by asking as a
// client does. While all is well it asks seldom; once a question comes to nothing it
// asks often, so that the end of an outage is known to some 50 ms, and its beginning
// to the pause between two questions, or better where somebody says that the holder
// is about to change (Nudge).
package reach

import (
	"context"
	"sync"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Outage is a time in which no question was answered.
type Outage struct {
	// Began is when the first question was sent that came to nothing, Ended when
	// the first answer came after it; 0 while it lasts.
	Began, Ended boottime.Instant
	// Err is what came of the first question.
	Err error
}

// Options configure a Prober.
type Options struct {
	// Ask asks once; any answer is one. known is false if nothing was asked.
	Ask func(context.Context) (known bool, err error)
	// Every is the pause between two questions while they are answered.
	Every time.Duration
	// Idle, if set, tells that there is no need to ask: the address is here.
	Idle func() bool
	// Notify is told when an outage begins, and once more when it ends. It must
	// not block.
	Notify func(Outage)
	// Now is the clock; nil is CLOCK_BOOTTIME.
	Now boottime.Clock
}

const (
	// timeout is less than what Linux waits before it sends a SYN again, so that an
	// answer is one to a question that was sent just before (tcp(7)).
	timeout = 900 * time.Millisecond
	// doubt is the pause before the next question while one has no answer yet. In an
	// outage it is hurry at first, and then a twentieth of what has passed of it, so
	// that a long one costs little and is measured as well as a short one.
	doubt, hurry = 100 * time.Millisecond, 50 * time.Millisecond
	share        = 20
	// crowd is how many questions may wait for an answer.
	crowd = 18
)

// Prober asks. Make it with New and call Run.
type Prober struct {
	opts Options
	wake chan struct{} // one slot
}

// New returns a prober that has not asked.
func New(opts Options) *Prober {
	if opts.Now == nil {
		opts.Now = boottime.Now
	}
	if opts.Idle == nil {
		opts.Idle = func() bool { return false }
	}
	return &Prober{opts: opts, wake: make(chan struct{}, 1)}
}

// Nudge has it ask now. It does not block.
func (p *Prober) Nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// answer is what came of a question.
type answer struct {
	sent, came boottime.Instant
	known      bool
	err        error
}

// Run asks until ctx ends.
func (p *Prober) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	answers := make(chan answer, crowd)
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
			if r.answered(a) {
				p.opts.Notify(r.outage)
			}
		case <-p.wake:
			due = true
		case <-timer.C:
			due = true
		}
		if due && pending < crowd && (r.dark() || pending > 0 || !p.opts.Idle()) {
			pending++
			asking.Go(func() { answers <- p.ask(ctx) })
		}
		if due {
			asked = p.opts.Now()
		}
		timer.Reset(asked.Add(p.pause(&r, pending)).Sub(p.opts.Now()))
	}
}

// pause is the time between two questions.
func (p *Prober) pause(r *record, pending int) time.Duration {
	switch {
	case r.dark():
		return max(hurry, p.opts.Now().Sub(r.outage.Began)/share)
	case pending > 0:
		return min(doubt, p.opts.Every)
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

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
	// hurry is the pause between two questions during an outage, at most crowd of
	// which wait for an answer.
	hurry = 50 * time.Millisecond
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
	sent  boottime.Instant
	known bool
	err   error
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
	var outage Outage // the last one
	pending := 0
	for {
		due := false
		select {
		case <-ctx.Done():
			return nil
		case a := <-answers:
			pending--
			p.answered(&outage, a)
		case <-p.wake:
			due = true
		case <-timer.C:
			due = true
		}
		dark := outage.Began != 0 && outage.Ended == 0
		if due && (dark || !p.opts.Idle()) && pending < crowd && (dark || pending == 0) {
			pending++
			asking.Go(func() { answers <- p.ask(ctx) })
		}
		switch {
		case dark:
			timer.Reset(hurry)
		case due:
			timer.Reset(p.opts.Every)
		}
	}
}

func (p *Prober) ask(ctx context.Context) answer {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	a := answer{sent: p.opts.Now()}
	a.known, a.err = p.opts.Ask(ctx)
	return a
}

// answered begins an outage, or ends it. What comes of a question that was sent
// before the last change says nothing about the time after it.
func (p *Prober) answered(o *Outage, a answer) {
	dark := o.Began != 0 && o.Ended == 0
	switch {
	case !a.known || a.sent < max(o.Began, o.Ended):
	case a.err != nil && !dark:
		*o = Outage{Began: a.sent, Err: a.err}
		p.opts.Notify(*o)
	case a.err == nil && dark:
		o.Ended = p.opts.Now()
		p.opts.Notify(*o)
	}
}

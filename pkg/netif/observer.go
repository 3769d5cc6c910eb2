package netif

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Change is the difference between two Snapshots.
type Change struct {
	// Links and Addresses were added, removed or changed; each is in its present form, or in its
	// last form if removed. A refreshed lifetime is no change.
	Links     []Link
	Addresses []Address
	// All: everything was read anew, so something may have changed that is not listed.
	All bool
}

// ObserverOptions configures an Observer.
type ObserverOptions struct {
	// Changed, if set, is called with each change, after Snapshot has it. Changed must not block.
	Changed func(Change)
	// Every is the interval at which everything is read anew, as a safeguard; 0 means 30 s.
	Every time.Duration
	Log   *zap.Logger
}

// Observer keeps a Snapshot up to date from the kernel's notifications, so that neither a look nor
// an event costs more on a node with hundreds of pods. Observer is safe for concurrent use.
type Observer struct {
	h       *Handle
	opts    ObserverOptions
	current atomic.Pointer[Snapshot]     // nil before the first one
	live    atomic.Pointer[subscription] // nil while no subscription is complete
}

// Observe returns an Observer of the handle's namespace, which observes nothing before Run.
func (h *Handle) Observe(opts ObserverOptions) *Observer {
	if opts.Changed == nil {
		opts.Changed = func(Change) {}
	}
	if opts.Every == 0 {
		opts.Every = 30 * time.Second
	}
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	return &Observer{h: h, opts: opts}
}

// Snapshot returns the newest Snapshot. It may not contain what this process has just changed: see
// Fresh. Only before the first Snapshot, the kernel is asked.
func (o *Observer) Snapshot() (*Snapshot, error) {
	if now := o.current.Load(); now != nil {
		return now, nil
	}
	return o.h.Snapshot()
}

// Fresh returns a Snapshot that contains everything from before the call, including what Put and
// Remove of this process changed.
func (o *Observer) Fresh() (*Snapshot, error) {
	if live := o.live.Load(); live != nil {
		if now := live.catchUp(); now != nil {
			return now, nil
		}
	}
	return o.h.Snapshot() // if the observer does not answer, ask the kernel
}

// Run observes until ctx ends.
func (o *Observer) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		began := boottime.Now()
		err := o.subscribed(ctx)
		o.live.Store(nil)
		if ctx.Err() == nil {
			o.lost(ctx, err, boottime.Now().Sub(began))
		}
	}
	return nil
}

// lost logs the end of a subscription, and pauses after a short one.
func (o *Observer) lost(ctx context.Context, why error, after time.Duration) {
	o.opts.Changed(Change{All: true})
	if after >= time.Second { // most likely a full buffer, which is harmless
		o.opts.Log.Debug("netlink subscription lost, resubscribing", zap.Error(why))
		return
	}
	o.opts.Log.Warn("netlink subscription lost, resubscribing", zap.Error(why))
	select {
	case <-ctx.Done():
	case <-time.After(100 * time.Millisecond):
	}
}

// subscribed runs one subscription until it ends.
func (o *Observer) subscribed(ctx context.Context) error {
	s, err := o.h.subscribe()
	if err != nil {
		return err
	}
	defer s.end()
	defer context.AfterFunc(ctx, s.end)()
	s.log = o.opts.Log
	for {
		// For changes before the subscription, and then at each interval.
		o.h.dumps.Add(1)
		if err := s.dump(); err != nil {
			return err
		}
		if err := o.follow(s, boottime.Now().Add(o.opts.Every)); err != nil {
			return err
		}
	}
}

// follow handles notifications until everything has to be read again.
func (o *Observer) follow(s *subscription, again boottime.Instant) error {
	for s.reading != nil || boottime.Now() < again {
		until := again
		if s.reading != nil {
			until = s.reading.stalls
		}
		change, err := s.receive(until)
		if errors.Is(err, errNoMessage) {
			continue
		}
		if err != nil {
			return err
		}
		changed := s.whole && (change.All || len(change.Links)+len(change.Addresses) > 0)
		if changed {
			now := s.now // shares the unchanged parts
			o.current.Store(&now)
			o.live.Store(s)
		}
		s.answer(o.current.Load())
		if changed {
			o.opts.Changed(change)
		}
	}
	return nil
}

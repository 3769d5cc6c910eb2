package daemon

import (
	"context"
	"time"
)

// Ends says how a process ends after its context has ended: each Manager waits for the next holder, but
// not after Now is closed, and not in the last part of the grace period, see ending (docs/adr/0020).
type Ends struct {
	// Now is closed to end without the next holder; nil is never closed.
	Now <-chan struct{}
}

// ending is the part of the grace period for the end itself, which takes a second, and two while the
// kernel hangs.
const ending = 2 * time.Second

// after calls end when ctx ends, and stop when there is nothing to wait for any more, or after the
// given time. Cancel manage, which stop may do, to end what after started.
func (e Ends) after(ctx, manage context.Context, wait time.Duration, end, stop func()) {
	context.AfterFunc(ctx, func() {
		end()
		last := time.NewTimer(wait)
		defer last.Stop()
		select {
		case <-last.C:
		case <-e.Now:
		case <-manage.Done():
		}
		stop()
	})
}

// run runs until ctx ends or a part fails.
func (n *node) run(ctx context.Context, ends Ends) error {
	manage, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var managers []func(context.Context) error
	for _, g := range n.groups {
		managers = append(managers, g.manager.Run)
	}
	ends.after(ctx, manage, n.config.GracePeriod-ending, func() {
		for _, g := range n.groups {
			g.manager.End()
		}
	}, stop)
	return inOrder(manage, n.parts(), managers)
}

package daemon

import (
	"context"
	"time"

	"github.com/vipd-io/vipd/internal/manifest"
)

// Ends says how a process ends after its context has ended: each Manager waits for the next holder, but
// for no longer than waitForNext, and no longer once Now is closed (docs/adr/0020).
type Ends struct {
	// Now is closed to end without the next holder; nil is never closed.
	Now <-chan struct{}
}

// waitForNext is how long a holder that is told to end keeps the VIP for the next holder. A kubelet that
// replaces a static pod starts the new one 10 to 15 s after the old one was told to end (backOffPeriod
// in pkg/kubelet), and up to 18 s after it on the busy machine of the lab. The rest of the pod's grace period is for the
// end itself, which takes a second, and two while the kernel hangs.
const waitForNext = manifest.GracePeriod - 2*time.Second

// after calls end when ctx ends, and stop when there is nothing to wait for any more. Cancel manage, which
// stop may do, to end what after started.
func (e Ends) after(ctx, manage context.Context, end, stop func()) {
	context.AfterFunc(ctx, func() {
		end()
		last := time.NewTimer(waitForNext)
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
	ends.after(ctx, manage, func() {
		for _, g := range n.groups {
			g.manager.End()
		}
	}, stop)
	return inOrder(manage, n.parts(), managers)
}

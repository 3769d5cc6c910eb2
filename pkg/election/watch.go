package election

import (
	"context"
	"time"

	"go.uber.org/zap"
	coordinationv1 "k8s.io/api/coordination/v1"
)

// watch sends what the store delivers to Run, and starts a new watch whenever the stream ends,
// until ctx ends.
func (e *Elector) watch(ctx context.Context) {
	for ctx.Err() == nil {
		err := e.opts.Store.Watch(ctx, func(l *coordinationv1.Lease) {
			select {
			case e.watchEvents <- watchEvent{lease: l}:
			case <-ctx.Done():
			}
		})
		if err != nil {
			e.log.Debug("watch ended", zap.Error(err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryDelay):
		}
	}
}

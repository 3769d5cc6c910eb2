package election

import (
	"context"
	"time"

	"go.uber.org/zap"
	coordinationv1 "k8s.io/api/coordination/v1"
)

// watch hands what the store delivers to Run, and watches again whenever the
// stream ends, until ctx does.
func (e *Elector) watch(ctx context.Context) {
	for ctx.Err() == nil {
		err := e.opts.Store.Watch(ctx, func(l *coordinationv1.Lease) {
			select {
			case e.seen <- sighting{lease: l}:
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

package cli

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// nextSignal returns a channel that is closed by the first signal to end that comes after ctx has
// ended. The signal after that one has its default action.
func nextSignal(ctx context.Context) (came <-chan struct{}, release func()) {
	signals, closed, released := make(chan os.Signal, 1), make(chan struct{}), make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
		defer signal.Stop(signals)
		select {
		case <-signals:
			close(closed)
		case <-released:
		}
	})
	return closed, sync.OnceFunc(func() {
		stop()
		close(released)
	})
}

package cli

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// nextSignal returns a channel that is closed by the signal to end that follows the one that ends
// ctx. The signal after that one has its default action. nextSignal catches signals from its call
// on, so that none has its default action between the two.
func nextSignal(ctx context.Context) (came <-chan struct{}, release func()) {
	signals, closed, released := make(chan os.Signal, 2), make(chan struct{}), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	expected := 2
	if ctx.Err() != nil {
		expected = 1
	}
	var waits sync.WaitGroup
	waits.Go(func() {
		defer signal.Stop(signals)
		for range expected {
			select {
			case <-signals:
			case <-released:
				return
			}
		}
		close(closed)
	})
	return closed, sync.OnceFunc(func() {
		close(released)
		waits.Wait()
	})
}

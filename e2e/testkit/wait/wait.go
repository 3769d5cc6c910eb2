// Package wait waits for events and for times.
package wait

import (
	"context"
	"time"
)

// For waits for a duration that is part of an observation. If there is an event, wait for the event
// instead. The error means that ctx ended before.
func For(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Until repeats a query until the result is true, until an error, or until ctx ends.
func Until(ctx context.Context, every time.Duration, done func() (bool, error)) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

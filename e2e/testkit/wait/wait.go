// Package wait lets time pass.
package wait

import (
	"context"
	"time"
)

// For lets time pass that is itself what is to be observed. Where something can be
// awaited, that is better. The error is that ctx ended before.
func For(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Until asks until the answer is yes, an error, or ctx ends.
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

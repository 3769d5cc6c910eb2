package vip

import (
	"testing"
	"time"

	"github.com/vipd-io/vipd/internal/bubble"
)

// TestLooksWhileInputsCome: however often inputs come, everything is read again within a second.
func TestLooksWhileInputsCome(t *testing.T) {
	for _, every := range []time.Duration{100 * time.Millisecond, 400 * time.Millisecond, time.Second} {
		t.Run(every.String(), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := newWorld(t, 0)
				w.run()
				for range 5 * time.Second / every { // until the holding has settled
					w.grant(1, hold)
					w.pass(every)
				}
				w.mu.Lock()
				w.damaged = true // no event reports the damage
				w.mu.Unlock()
				for range time.Second / every {
					w.pass(every)
					w.grant(1, hold)
				}
				w.mu.Lock()
				if w.damaged {
					t.Error("the fence is still damaged after a second")
				}
				w.mu.Unlock()
				_, _ = w.end()
			})
		})
	}
}

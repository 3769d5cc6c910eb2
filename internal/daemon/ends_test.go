package daemon

import (
	"context"
	"testing"
	"time"

	"github.com/vipd-io/vipd/internal/bubble"
)

// TestEnds: the Managers are told to end first, and are ended at once later: with the second signal, or
// when a pod's grace period is nearly over.
func TestEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		second time.Duration // 0 for none
		want   time.Duration
	}{
		"no second signal": {want: 28 * time.Second},
		"second signal":    {second: 3 * time.Second, want: 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				ctx, first := context.WithCancel(t.Context())
				now, manage, stopped := make(chan struct{}), t.Context(), make(chan struct{})
				var told time.Time
				Ends{Now: now}.after(ctx, manage, 28*time.Second, func() { told = time.Now() }, func() { close(stopped) })
				time.Sleep(time.Minute)
				began := time.Now()
				first()
				if tt.second > 0 {
					time.AfterFunc(tt.second, func() { close(now) })
				}
				<-stopped
				if !told.Equal(began) || time.Since(began) != tt.want {
					t.Errorf("told after %s, stopped after %s, want %s", told.Sub(began), time.Since(began), tt.want)
				}
			})
		})
	}
}

// TestManagersEndByThemselves: nothing waits once all Managers have ended.
func TestManagersEndByThemselves(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ctx, first := context.WithCancel(t.Context())
		manage, ended := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		Ends{}.after(ctx, manage, 28*time.Second, ended, func() { close(stopped) })
		began := time.Now()
		first()
		<-stopped
		if d := time.Since(began); d > 0 {
			t.Errorf("waits for %s", d)
		}
	})
}

package boottime

import (
	"context"
	"testing"
	"time"
)

// TestAlarm: the alarm fires at its instant, not before, at once for an instant in the past, and
// only for the newest one. The test cannot suspend the machine; because the clock is
// CLOCK_BOOTTIME, the alarm fires on resume.
func TestAlarm(t *testing.T) {
	a, err := NewAlarm()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	rang := make(chan Instant, 10)
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, func() { rang <- Now() }) }()
	set := func(at Instant) {
		t.Helper()
		if err := a.Set(at); err != nil {
			t.Fatal(err)
		}
	}
	set(Now().Add(time.Hour))
	at := Now().Add(50 * time.Millisecond)
	set(at)
	if got := <-rang; got < at {
		t.Errorf("rang %s early", at.Sub(got))
	}
	set(Now().Add(-time.Hour))
	<-rang
	set(0)
	<-rang
	set(Now().Add(time.Hour))
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
	if len(rang) > 0 {
		t.Errorf("rang %d times more", len(rang))
	}
}

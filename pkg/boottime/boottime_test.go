package boottime

import (
	"testing"
	"time"
)

func TestNowNeverGoesBack(t *testing.T) {
	last := Now()
	for range 10000 {
		now := Now()
		if now.Before(last) {
			t.Fatalf("now = %d after %d", now, last)
		}
		last = now
	}
}

func TestZeroHasPassed(t *testing.T) {
	var never Instant
	if !never.Before(Now()) {
		t.Fatal("an instant that was never set must lie in the past")
	}
	if got := never.Add(3 * time.Second).Sub(never); got != 3*time.Second {
		t.Fatalf("Sub = %v, want 3s", got)
	}
}

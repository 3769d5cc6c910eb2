package election

import (
	"fmt"
	"time"
)

// Timing is the arithmetic of one lease.
//
//	Lease >= Margin + Renew + 2 x Attempt
//
// so that a renewal that gets no answer can be tried once more before the
// deadline, which is Lease - Margin after the send of the last good one.
type Timing struct {
	// Lease is the duration on the wire, whole seconds.
	Lease time.Duration
	// Margin is what the holder stops early, for clocks that run at different
	// rates and for the kernel's timers.
	Margin time.Duration
	// Renew is the time between the sends of two renewals.
	Renew time.Duration
	// Attempt is the time in which an API server has to answer a write.
	Attempt time.Duration
}

const (
	minMargin  = 150 * time.Millisecond
	minAttempt = 250 * time.Millisecond
	maxAttempt = time.Second
	minRenew   = 100 * time.Millisecond
	maxRenew   = 2 * time.Second
)

// Bounds of a lease duration that vipd takes from a person.
const (
	MinLease = time.Second
	MaxLease = time.Minute
)

// NewTiming works out the timing of a lease. renew 0 means a third of it, 2 s
// at most. The error shows the sum that does not come out.
func NewTiming(lease, renew time.Duration) (Timing, error) {
	if lease != lease.Truncate(time.Second) {
		return Timing{}, fmt.Errorf("lease duration %s: the Lease object holds whole seconds only", lease)
	}
	if lease < MinLease || lease > MaxLease {
		return Timing{}, fmt.Errorf("lease duration %s: must be between %s and %s", lease, MinLease, MaxLease)
	}
	if renew == 0 {
		renew = min(lease/3, maxRenew).Truncate(time.Millisecond)
	}
	if renew < minRenew {
		return Timing{}, fmt.Errorf("renew interval %s: must be at least %s", renew, minRenew)
	}
	t := Timing{Lease: lease, Margin: max(minMargin, lease/100), Renew: renew}
	t.Attempt = min((t.Lease-t.Margin-t.Renew)/2, maxAttempt)
	if t.Attempt < minAttempt {
		return Timing{}, fmt.Errorf("lease duration %s is too short for a renew interval of %s: %s margin + %s renew interval + 2 x %s for an answer = %s",
			lease, renew, t.Margin, renew, minAttempt, t.Margin+renew+2*minAttempt)
	}
	return t, nil
}

// Hold is how long after the send of a good write the holder may answer.
func (t Timing) Hold() time.Duration { return t.Lease - t.Margin }

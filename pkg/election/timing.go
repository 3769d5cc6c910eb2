package election

import (
	"fmt"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Timing is the timing of one lease.
//
//	Lease >= Margin + Renew + 2 x Attempt
//
// Thus a renewal without an answer can be tried once more before the deadline. The deadline is
// Lease - Margin after the send of the last successful write.
type Timing struct {
	// Lease is the duration in the Lease object, whole seconds.
	Lease time.Duration
	// Margin is how long before the end of the lease the holder stops, see margin.
	Margin time.Duration
	// Renew is the time between the sends of two renewals.
	Renew time.Duration
	// Attempt is how long an API server may take to answer a write.
	Attempt time.Duration
}

const (
	minMargin  = 150 * time.Millisecond
	timers     = 20 * time.Millisecond
	minAttempt = 250 * time.Millisecond
	maxAttempt = time.Second
	minRenew   = 100 * time.Millisecond
	maxRenew   = 2 * time.Second
)

// Bounds of a lease duration that a person may configure.
const (
	MinLease = time.Second
	MaxLease = time.Minute
)

// NewTiming returns the timing of a lease. renew 0 means a third of the lease, 2 s at most. The
// error shows the inequality that does not hold.
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
	t := Timing{Lease: lease, Margin: margin(lease), Renew: renew}.withLease(lease, maxAttempt)
	if t.Attempt < minAttempt {
		return Timing{}, fmt.Errorf("lease duration %s is too short for a renew interval of %s: %s margin + %s renew interval + 2 x %s for an answer = %s",
			lease, renew, t.Margin, renew, minAttempt, t.Margin+renew+2*minAttempt)
	}
	return t, nil
}

// MaxSlew is the slowest rate at which the holder's clocks may run during a lease, in ppm below the
// true rate: 100 000 ppm, a tick of 9000 us, is the most that the kernel lets an NTP client set
// (adjtimex(2)); chrony uses 83 333 ppm.
const MaxSlew boottime.PPM = 100_000

// margin is how long before the end of the lease the holder stops. The timers that end the address
// use a clock that an NTP client may slow down at any time, also after the process was killed; the
// candidates wait by a clock that an NTP client cannot speed up (see unslewed.go). A tenth of the
// lease allows for the slew, a hundredth for other differences between two clocks, and the rest for
// the kernel's timers, which are late by less than 10 ms.
//
//	(L - M) / 0.9 + 10 ms < L x 0.99
func margin(lease time.Duration) time.Duration {
	return max(minMargin, lease*11/100+timers)
}

// withLease returns the timing of another lease with the same renew interval. A call may take as
// long as attempt, if the lease has room for two such calls.
func (t Timing) withLease(lease, attempt time.Duration) Timing {
	if lease != t.Lease {
		t.Lease, t.Margin = lease, margin(lease)
	}
	t.Attempt = min((t.Lease-t.Margin-t.Renew)/2, attempt)
	return t
}

// Hold is how long after the send of a successful write the holder may answer.
func (t Timing) Hold() time.Duration { return t.Lease - t.Margin }

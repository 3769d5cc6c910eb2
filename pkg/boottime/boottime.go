// Package boottime is the clock for all decisions.
//
// The clock is CLOCK_BOOTTIME, which runs on while a machine is suspended and does not follow steps
// of the wall clock (clock_gettime(2)). An Instant is valid on this machine and in this boot only;
// an Instant is never compared with a time that another machine wrote.
//
// An NTP client may change the rate of CLOCK_BOOTTIME. A wait that must not be too short for that
// reason is measured with Raw as well. Slew returns the rate.
package boottime

import (
	"time"

	"golang.org/x/sys/unix"
)

// Instant is a point in time, in nanoseconds since boot. The zero Instant is in the past, so a
// deadline that was never set has passed.
type Instant int64

// Clock returns the present instant. Now is the real clock; tests use their own.
type Clock func() Instant

// Now reads CLOCK_BOOTTIME.
func Now() Instant {
	var ts unix.Timespec
	// The only errors are EFAULT and EINVAL, which these arguments rule out.
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("read CLOCK_BOOTTIME: " + err.Error())
	}
	return Instant(ts.Nano())
}

// Add returns the instant d after i.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Sub returns the duration from j to i, negative if j is later.
func (i Instant) Sub(j Instant) time.Duration { return time.Duration(i - j) }

// Before tells whether i is before j.
func (i Instant) Before(j Instant) bool { return i < j }

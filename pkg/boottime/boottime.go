// Package boottime is the one clock that decisions are made on.
//
// It reads CLOCK_BOOTTIME, which goes on while a machine is suspended and does
// not follow steps of the wall clock (clock_gettime(2)). An Instant is of use
// on this machine and in this boot only; it is never compared with a time that
// another machine wrote.
package boottime

import (
	"time"

	"golang.org/x/sys/unix"
)

// Instant is a point in time: nanoseconds since boot. The zero value is long
// past, so a deadline that was never set has passed.
type Instant int64

// Clock tells the present instant. Now is the real one; tests give their own.
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

// Add returns the instant d later.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Sub returns the time from j to i, negative when j is the later one.
func (i Instant) Sub(j Instant) time.Duration { return time.Duration(i - j) }

// Before tells whether i lies before j.
func (i Instant) Before(j Instant) bool { return i < j }

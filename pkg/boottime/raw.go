package boottime

import (
	"time"

	"golang.org/x/sys/unix"
)

// Raw is a reading of CLOCK_MONOTONIC_RAW, in nanoseconds: a second clock whose rate nobody
// changes. CLOCK_BOOTTIME, timers of package time, nftables' timeouts and the lifetimes of
// addresses all follow the rate that an NTP client sets (kernel/time/timekeeping.c: one multiplier
// for all of them; jiffies, which the last two are counted in, advance with CLOCK_MONOTONIC). Raw
// stands still while a machine is suspended, CLOCK_BOOTTIME does not: a duration that has passed by
// both clocks has passed.
type Raw int64

// RawClock returns the present reading. NowRaw is the real clock; tests use their own.
type RawClock func() Raw

// NowRaw reads CLOCK_MONOTONIC_RAW.
func NowRaw() Raw {
	var ts unix.Timespec
	// The only errors are EFAULT and EINVAL, which these arguments rule out.
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_RAW, &ts); err != nil {
		panic("read CLOCK_MONOTONIC_RAW: " + err.Error())
	}
	return Raw(ts.Nano())
}

// Sub returns the duration from s to r.
func (r Raw) Sub(s Raw) time.Duration { return time.Duration(r - s) }

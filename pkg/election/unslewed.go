package election

import (
	"github.com/vipd-io/vipd/pkg/boottime"
)

// A candidate waits a lease out by two clocks. An NTP client may speed CLOCK_BOOTTIME up by a
// tenth, so that 3 s of it last 2.73 s. No NTP client changes CLOCK_MONOTONIC_RAW, but that clock
// stands still while the machine is suspended. A candidate that waits by both clocks waits long
// enough by the one that is right.

// observeNow lets the view observe a version of the Lease now, by both clocks. The result is false
// if the version was known.
func (e *Elector) observeNow(l *lease) bool {
	if !e.view.observe(l, e.now()) {
		return false
	}
	e.view.raw = e.raw() // read after the first clock, so the wait is no shorter
	e.observeOffer()
	return true
}

// expiry returns when the record will have been waited out by both clocks, as far as known now.
func (e *Elector) expiry(now boottime.Instant) boottime.Instant {
	v := &e.view
	left := v.from.Sub(v.at) - e.raw().Sub(v.raw)
	if left <= 0 {
		return v.from
	}
	return max(v.from, now.Add(left))
}

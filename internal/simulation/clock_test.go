package simulation

import (
	"testing"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// clock is a node's CLOCK_BOOTTIME. Every clock is at most as fast as simulated
// time: Go's timers run on that, so that of a slower node rings early by its own
// clock, and is set again until the instant has come. On a node that is faster
// than simulated time it would ring late, and hide what a fast clock does. Only
// how the rates of two nodes compare counts.
type clock struct {
	boot boottime.Instant // what it showed, or would have, when the simulation began
	slow int64            // by how many millionths it is slower
}

// at is what the clock shows at a simulated time.
func (c clock) at(t time.Duration) boottime.Instant {
	return c.boot.Add(t - time.Duration(int64(t)*c.slow/1e6))
}

// when is the first simulated time at which the clock shows i or later.
func (c clock) when(i boottime.Instant) time.Duration {
	d := int64(i.Sub(c.boot))
	t := time.Duration(max(0, d) * 1e6 / (1e6 - c.slow))
	for c.at(t) < i {
		t++
	}
	for t > 0 && c.at(t-1) >= i {
		t--
	}
	return t
}

func TestClock(t *testing.T) {
	for _, slow := range []int64{0, 1, 777, 20_000, 40_000, 150_000} {
		c := clock{boot: 12345, slow: slow}
		for _, i := range []time.Duration{0, 1, 999, time.Second, 33*time.Second + 7, time.Hour} {
			instant := c.boot.Add(i)
			at := c.when(instant)
			if c.at(at) < instant || at > 0 && c.at(at-1) >= instant {
				t.Errorf("%d ppm slow: shows %s only at %s", slow, i, at)
			}
		}
	}
}

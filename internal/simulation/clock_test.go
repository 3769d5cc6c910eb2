package simulation

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/election"
)

// clock is the set of clocks of a node in one boot. An NTP client slews CLOCK_BOOTTIME and jiffies
// alike, and does not slew CLOCK_MONOTONIC_RAW; during a suspend, only CLOCK_BOOTTIME advances
// (pkg/boottime has the sources).
//
// No clock is faster than simulated time: Go's timers use simulated time, so the timer of a slower
// node fires early by the node's clock, and is set again until the instant is reached. On a node
// with a clock faster than simulated time, timers would fire late and hide the effects of a fast
// clock. Only the ratio of two nodes' rates matters.
type clock struct {
	mu    sync.Mutex
	marks []mark // each starts another rate; the last one is current
}

// mark is the reading of the clocks at a simulated time, with their rates from then on.
type mark struct {
	at      time.Duration
	boot    boottime.Instant
	jiffies time.Duration // the unit of the kernel's timers
	raw     boottime.Raw
	slow    int64 // by how many millionths the first two clocks are slower than simulated time
	rawSlow int64 // the same for the third clock
	asleep  bool
}

// read returns the reading of the clocks at a later time.
func (m mark) read(t time.Duration) mark {
	own := slowed(t-m.at, m.slow)
	m.boot = m.boot.Add(own)
	if !m.asleep {
		m.jiffies += own
		m.raw += boottime.Raw(slowed(t-m.at, m.rawSlow))
	}
	m.at = t
	return m
}

func slowed(d time.Duration, slow int64) time.Duration { return d - time.Duration(int64(d)*slow/1e6) }

// after returns the smallest simulated time in which a clock advances by at least d.
func after(d time.Duration, slow int64) time.Duration {
	d = max(0, d)
	t := time.Duration(int64(d) * 1e6 / (1e6 - slow))
	for slowed(t, slow) < d {
		t++
	}
	for t > 0 && slowed(t-1, slow) >= d {
		t--
	}
	return t
}

// read returns the reading of the clocks at a simulated time.
func (c *clock) read(t time.Duration) mark {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := len(c.marks) - 1
	for i > 0 && c.marks[i].at > t {
		i--
	}
	return c.marks[i].read(t)
}

// at returns CLOCK_BOOTTIME.
func (c *clock) at(t time.Duration) boottime.Instant { return c.read(t).boot }

// when returns the first simulated time at which CLOCK_BOOTTIME shows i or later, at the current
// rate.
func (c *clock) when(i boottime.Instant) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.marks[len(c.marks)-1]
	return m.at + after(i.Sub(m.boot), m.slow)
}

// moment returns the first simulated time with at least that many jiffies, at the current rate.
func (c *clock) moment(jiffies time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := 0
	for i < len(c.marks)-1 && c.marks[i+1].jiffies < jiffies {
		i++
	}
	m := c.marks[i]
	return m.at + after(jiffies-m.jiffies, m.slow)
}

// change changes the rates of the clocks from now on.
func (c *clock) change(now time.Duration, how func(*mark)) {
	m := c.read(now)
	how(&m)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.marks = append(c.marks, m)
}

// rates are the rates of a node's clocks in millionths: the current correction by an NTP client,
// and the error of the oscillator.
type rates struct{ slew, crystal int64 }

// The maxima that the margin of a lease covers (pkg/election, margin).
const (
	maxSlew    = int64(election.MaxSlew)
	maxCrystal = 4000
)

// slow returns by how many millionths the slewed clock and the raw clock are slower than simulated
// time, which is as fast as the fastest permitted clock. drift is the used share of the maxima.
func (r rates) slow(drift float64) (slewed, raw int64) {
	rate := func(slew, crystal int64) float64 { return (1 + float64(slew)/1e6) * (1 + float64(crystal)/1e6) }
	fastest := (1 + drift*float64(maxSlew)/1e6) * (1 + drift*maxCrystal/1e6)
	return int64(1e6 * (1 - rate(r.slew, r.crystal)/fastest)), int64(1e6 * (1 - rate(0, r.crystal)/fastest))
}

// extreme draws a value between -limit and limit; many values are at the limits.
func extreme(rng *rand.Rand, limit float64) int64 {
	return int64(min(1, max(-1, 4*rng.Float64()-2)) * limit)
}

func TestClock(t *testing.T) {
	for _, slow := range []int64{0, 1, 777, 20_000, 182_000, 300_000} {
		c := clock{marks: []mark{{boot: 12345, jiffies: 678, slow: slow}}}
		for _, i := range []time.Duration{0, 1, 999, time.Second, 33*time.Second + 7, time.Hour} {
			instant := boottime.Instant(12345).Add(i)
			at := c.when(instant)
			if c.at(at) < instant || at > 0 && c.at(at-1) >= instant {
				t.Errorf("%d ppm slow: shows %s only at %s", slow, i, at)
			}
			if got := c.moment(678 + i); got != at {
				t.Errorf("%d ppm slow: timers of %s end at %s", slow, i, got)
			}
		}
	}
}

// TestClocksApart: a slewed clock, and a suspend.
func TestClocksApart(t *testing.T) {
	slewed, raw := rates{slew: -maxSlew}.slow(1)
	c := clock{marks: []mark{{slow: raw, rawSlow: raw}}}
	c.change(2*time.Second, func(m *mark) { m.slow = slewed })
	c.change(4*time.Second, func(m *mark) { m.asleep = true })
	c.change(14*time.Second, func(m *mark) { m.asleep = false })
	got := c.read(15 * time.Second)
	fair := slowed(time.Second, raw)
	lazy := slowed(time.Second, slewed)
	if ratio := float64(lazy) / float64(fair); ratio < 0.8999 || ratio > 0.9001 {
		t.Errorf("%s in %s, want a tenth less", lazy, fair)
	}
	near := func(what string, got, want time.Duration) {
		if (got - want).Abs() > time.Microsecond {
			t.Errorf("%s shows %s, want %s", what, got, want)
		}
	}
	near("CLOCK_BOOTTIME", time.Duration(got.boot), 2*fair+13*lazy)
	near("jiffies", got.jiffies, 2*fair+3*lazy)
	near("CLOCK_MONOTONIC_RAW", time.Duration(got.raw), 5*fair)
	near("the end of a timer", c.moment(2*fair+2*lazy+lazy/2), 14*time.Second+500*time.Millisecond)
	near("the end of an earlier one", c.moment(2*fair+lazy), 3*time.Second)
}

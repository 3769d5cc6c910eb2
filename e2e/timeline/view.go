package timeline

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/vipd-io/vipd/e2e/record"
)

// The plot lies between these, in pixels, of 1300 in all; names are on its left. The
// script in the template knows them, too.
const (
	left  = 160
	right = 1280
)

// A px is a length in pixels, written with one decimal.
type px float64

func (p px) String() string {
	return strconv.FormatFloat(math.Round(float64(p)*10)/10, 'f', -1, 64)
}

// A view is the stretch of time that a chart shows. Zero is the fault.
type view struct{ from, to, zero record.Time }

// around extends the view to all of what was asked and done.
func (v view) around(h record.History) view {
	include := func(t record.Time) { v.from, v.to = min(v.from, t), max(v.to, t) }
	for _, p := range h.Probes {
		include(p.At)
	}
	for _, r := range h.Requests {
		include(r.Start)
	}
	for _, m := range h.Marks {
		include(m.At)
	}
	v.to = max(v.to, v.from.Add(time.Millisecond)) // an empty episode is drawn as well
	return v
}

func (v view) has(t record.Time) bool { return v.from <= t && t <= v.to }

// x is where a time is, or the nearest edge.
func (v view) x(t record.Time) px {
	t = min(max(t, v.from), v.to)
	return left + (right-left)*px(t-v.from)/px(v.to-v.from)
}

// pixel is the time that one takes.
func (v view) pixel() time.Duration { return v.to.Sub(v.from) / (right - left) }

// gap is up to which distance signs that come at an interval are drawn as one bar: none
// where there is room to see each.
func (v view) gap(interval time.Duration) time.Duration {
	if interval > 4*v.pixel() {
		return 0
	}
	return max(3*interval-1, 2*v.pixel())
}

// rel is a time as people read it: since the fault.
func (v view) rel(t record.Time) string {
	return fmt.Sprintf("%+.3f s", t.Sub(v.zero).Seconds())
}

// during is a time or, if it took any, both ends.
func (v view) during(from, to record.Time) string {
	if from == to {
		return v.rel(from)
	}
	return v.rel(from) + " to " + v.rel(to)
}

type tick struct {
	X     px
	Label string
}

// ticks are at round times, not too near to each other.
func (v view) ticks() (out []tick) {
	step := v.step()
	first := math.Ceil(float64(v.from.Sub(v.zero)) / float64(step))
	for at := time.Duration(first) * step; at <= v.to.Sub(v.zero); at += step {
		out = append(out, tick{v.x(v.zero.Add(at)), fmt.Sprintf("%g s", at.Seconds())})
	}
	return out
}

func (v view) step() time.Duration {
	for unit := time.Millisecond; ; unit *= 10 {
		for _, n := range []time.Duration{1, 2, 5} {
			if n*unit >= 80*v.pixel() {
				return n * unit
			}
		}
	}
}

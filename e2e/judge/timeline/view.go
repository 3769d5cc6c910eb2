package timeline

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
)

// The plot is between these, in pixels, of 1300 in all; names are on its left. The script in the
// template uses the same numbers.
const (
	left  = 160
	right = 1280
)

// A px is a length in pixels, printed with one decimal.
type px float64

func (p px) String() string {
	return strconv.FormatFloat(math.Round(float64(p)*10)/10, 'f', -1, 64)
}

// A view is the time that a chart shows. zero is the time of the fault.
type view struct{ from, to, zero record.Time }

// around extends the view to all queries and marks.
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

// x returns the position of a time, or the nearest edge.
func (v view) x(t record.Time) px {
	t = min(max(t, v.from), v.to)
	return left + (right-left)*px(t-v.from)/px(v.to-v.from)
}

// pixel returns the time per pixel.
func (v view) pixel() time.Duration { return v.to.Sub(v.from) / (right - left) }

// gap returns the distance up to which signs at an interval are drawn as one bar: 0 if there is
// room for each.
func (v view) gap(interval time.Duration) time.Duration {
	if interval > 4*v.pixel() {
		return 0
	}
	return max(3*interval-1, 2*v.pixel())
}

// rel formats a time relative to the fault.
func (v view) rel(t record.Time) string {
	return fmt.Sprintf("%+.3f s", t.Sub(v.zero).Seconds())
}

// during formats a time or, if it has a duration, both ends.
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

// ticks returns ticks at round times with a minimum distance.
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

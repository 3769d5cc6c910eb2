package status

import (
	"fmt"
	"math"
	"time"
)

// sheet is a View in the words of the page.
type sheet struct{ View }

// shown is how many changes the page shows with their phases; the others it lists.
const shown = 8

// Holder is who holds the address, as far as this node knows, "" for nobody.
func (s sheet) Holder() string {
	if s.Status.Health == NoHolder {
		return ""
	}
	return s.Status.Lease.Holder
}

// Headline is the answer to the first question.
func (s sheet) Headline() string {
	vip := "the VIP"
	if len(s.Status.VIPs) > 1 {
		vip = "the VIPs"
	}
	switch {
	case !s.Status.Lease.Known:
		return "Not known who holds " + vip
	case s.Holder() == "":
		return "Nobody holds " + vip
	}
	return s.Holder() + " holds " + vip
}

// Tone is the class of Health.
func (s sheet) Tone() string {
	return map[string]string{Healthy: "good", Degraded: "warn"}[s.Status.Health]
}

// Role is what this node does.
func (s sheet) Role() string {
	switch {
	case s.Status.State == "holding":
		return "holds the VIP"
	case s.Status.State != "standby":
		return s.Status.State
	case s.Status.Candidate:
		return "standby, would take over"
	}
	return "standby, would not take over"
}

// remains is what is left of the lease.
type remains struct {
	Text string
	// Share is what of it is left, in thousandths.
	Share float64
}

// Remains is how long the lease lasts still: for a holder, until it falls silent; for
// the others, until they may take it.
func (s sheet) Remains() *remains {
	l := s.Status.Lease
	if !l.Known || l.Holder == "" || l.DurationSeconds <= 0 {
		return nil
	}
	left := l.DurationSeconds - float64(l.RenewedMS)/1000
	if s.Status.State == "holding" {
		left = float64(l.DeadlineMS) / 1000
	}
	if left <= 0 {
		return &remains{Text: "ran out"}
	}
	return &remains{fmt.Sprintf("runs out in %.1f s, of %s", left, length(l.DurationSeconds)), min(1000, 1000*left/l.DurationSeconds)}
}

// Newest are the changes that are shown with all there is, Older the others.
func (s sheet) Newest() []Change { return s.History.Changes[:min(shown, len(s.History.Changes))] }

// Older are the others.
func (s sheet) Older() []Change { return s.History.Changes[len(s.Newest()):] }

// ID is the same for a change as long as it is shown.
func (s sheet) ID(c Change) string { return fmt.Sprintf("%s-%d", c.Kind, c.Time.UnixMicro()) }

// What says what the change was.
func (s sheet) What(c Change) string {
	switch c.Kind {
	case Taken:
		return c.Holder + " took the VIP"
	case Left:
		return s.Status.Node + " gave up the VIP"
	case Moved:
		return "The VIP moved to " + c.Holder
	case Repaired:
		return "Put right on " + s.Status.Node
	case Conflict:
		return "Another machine claimed the VIP"
	case Refused:
		return "A move was not made"
	case Dark:
		return "The VIP did not answer"
	}
	return string(c.Kind)
}

// Took is how long the change took, "" if it did not take time.
func (s sheet) Took(c Change) string {
	if c.Seconds <= 0 {
		return ""
	}
	return length(c.Seconds)
}

// segment is a phase, and the time from the one before to it as a part of a bar.
type segment struct {
	Phase
	// Step is that time in milliseconds, X and W where it is in the bar, in
	// thousandths, and Hue its colour; all 0 for the first.
	Step, X, W float64
	Hue        int
}

const (
	// hues is how many colours there are.
	hues = 6
	// narrowest is what can be seen of a segment, and gap what is between two.
	narrowest, gap = 6, 2
)

// Segments are the phases of a change.
func (s sheet) Segments(c Change) []segment {
	var out []segment
	total := 0.0
	for i, p := range c.Phases {
		part := segment{Phase: p}
		if i > 0 {
			part.Step, part.Hue = max(0, p.AfterMS-c.Phases[i-1].AfterMS), (i-1)%hues+1
			total += part.Step
		}
		out = append(out, part)
	}
	if total == 0 {
		return out
	}
	// What is too narrow to be seen is made wider, and all together narrower.
	sum := 0.0
	for i := range out[1:] {
		part := &out[i+1]
		part.W = max(narrowest, 1000*part.Step/total)
		sum += part.W
	}
	x := 0.0
	for i := range out[1:] {
		part := &out[i+1]
		w := part.W * 1000 / sum
		part.X, part.W = tenth(x), tenth(w-gap)
		x += w
	}
	return out
}

// Bar tells whether there is one to draw.
func (s sheet) Bar(c Change) bool { return len(c.Phases) > 1 && c.Phases[len(c.Phases)-1].AfterMS > 0 }

func tenth(x float64) float64 { return math.Round(x*10) / 10 }

// MS is a number of milliseconds, in tenths.
func (s sheet) MS(ms float64) string { return fmt.Sprintf("%.1f ms", ms) }

// Sec is a number of seconds.
func (s sheet) Sec(seconds float64) string { return length(seconds) }

// Left is a number of milliseconds, as seconds.
func (s sheet) Left(ms int64) string { return fmt.Sprintf("%.1f s", float64(ms)/1000) }

// moment is a time of day for a person.
type moment struct{ Machine, Clock, Ago string }

// At is a moment, to the second.
func (s sheet) At(t time.Time) *moment { return s.moment(t, "15:04:05") }

// Exact is a moment, to the millisecond.
func (s sheet) Exact(t time.Time) *moment { return s.moment(t, "15:04:05.000") }

func (s sheet) moment(t time.Time, layout string) *moment {
	t, now := t.UTC(), s.Status.Time.UTC()
	if t.YearDay() != now.YearDay() || t.Year() != now.Year() {
		layout = "2006-01-02 " + layout
	}
	return &moment{t.Format(time.RFC3339Nano), t.Format(layout) + " UTC", ago(now.Sub(t))}
}

// ago says how long something is gone, or when it will be.
func ago(d time.Duration) string {
	switch {
	case d > -time.Second && d < time.Second:
		return "just now"
	case d < 0:
		return "in " + about(-d)
	}
	return about(d) + " ago"
}

// about is a length of time by its largest unit, with one that tells enough.
func about(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{24 * time.Hour, "days"}, {time.Hour, "h"}, {time.Minute, "min"}} {
		if d >= 2*u.unit {
			return fmt.Sprintf("%d %s", d/u.unit, u.name)
		}
	}
	return fmt.Sprintf("%d s", d/time.Second)
}

// length is a length of time that was measured.
func length(seconds float64) string {
	switch {
	case seconds < 1:
		return fmt.Sprintf("%.0f ms", seconds*1000)
	case seconds < 120:
		return fmt.Sprintf("%.3g s", seconds)
	}
	return about(time.Duration(seconds * float64(time.Second)))
}

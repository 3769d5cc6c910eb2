package status

import (
	"fmt"
	"math"
	"time"
)

// pageView provides the texts of the page.
type pageView struct{ View }

// shown is how many changes the page shows with their phases; older ones are listed only.
const shown = 8

// Holder returns the holder as far as this node knows, "" for none.
func (s pageView) Holder() string {
	if s.Status.Health == NoHolder {
		return ""
	}
	return s.Status.Lease.Holder
}

// Headline says who holds the VIP.
func (s pageView) Headline() string {
	name := "the VIP"
	if len(s.Status.VIPs) > 1 {
		name = "the VIPs"
	}
	switch {
	case !s.Status.Lease.Known:
		return "The holder of " + name + " is not known"
	case s.Holder() == "":
		return "Nobody holds " + name
	}
	return s.Holder() + " holds " + name
}

// Tone returns the CSS class for Health.
func (s pageView) Tone() string {
	return map[string]string{Healthy: "good", Degraded: "warn"}[s.Status.Health]
}

// Role says what this node does.
func (s pageView) Role() string {
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

// remains is the remaining time of the lease.
type remains struct {
	Text string
	// Share is the remaining part, in thousandths.
	Share float64
}

// Remains returns the remaining time of the lease: for the holder, until its deadline; for the
// others, until they may claim the Lease. nil if there is no holder.
func (s pageView) Remains() *remains {
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
	return &remains{fmt.Sprintf("runs out in %.1f s, of %s%s", left, length(l.DurationSeconds), l.Longer()), min(1000, 1000*left/l.DurationSeconds)}
}

// Newest returns the changes that are shown with their phases.
func (s pageView) Newest() []Change { return s.History.Changes[:min(shown, len(s.History.Changes))] }

// Older returns the other changes.
func (s pageView) Older() []Change { return s.History.Changes[len(s.Newest()):] }

// ID returns an identifier of a change that does not change while the page is open.
func (s pageView) ID(c Change) string { return fmt.Sprintf("%s-%d", c.Kind, c.Time.UnixMicro()) }

// What returns the title of a change.
func (s pageView) What(c Change) string {
	switch c.Kind {
	case Taken:
		return c.Holder + " took the VIP"
	case Left:
		return s.Status.Node + " no longer holds the VIP"
	case Moved:
		return "The VIP moved to " + c.Holder
	case Repaired:
		return "Repaired on " + s.Status.Node
	case Conflict:
		return "Another machine claimed the VIP"
	case Refused:
		return "A move was refused"
	case Duration:
		return "The lease duration changed"
	case Dark:
		return "The VIP did not answer"
	}
	return string(c.Kind)
}

// Took returns how long the change took, "" if no duration is recorded.
func (s pageView) Took(c Change) string {
	if c.Seconds <= 0 {
		return ""
	}
	return length(c.Seconds)
}

// segment is a phase with its part of the bar: the time since the phase before.
type segment struct {
	Phase
	// Step is that time in milliseconds, X and W the position and width in thousandths, and Hue the
	// colour; all 0 for the first phase.
	Step, X, W float64
	Hue        int
}

const (
	// hues is the number of colours.
	hues = 6
	// narrowest is the minimum width of a segment, and gap the space between two.
	narrowest, gap = 6, 2
)

// Segments returns the phases of a change.
func (s pageView) Segments(c Change) []segment {
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
	// Segments too narrow to see are widened, and then all are scaled to fit.
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
		part.X, part.W = roundTenth(x), roundTenth(w-gap)
		x += w
	}
	return out
}

// Bar tells whether there is a bar to draw.
func (s pageView) Bar(c Change) bool {
	return len(c.Phases) > 1 && c.Phases[len(c.Phases)-1].AfterMS > 0
}

func roundTenth(x float64) float64 { return math.Round(x*10) / 10 }

// MS formats milliseconds, with one decimal.
func (s pageView) MS(ms float64) string { return fmt.Sprintf("%.1f ms", ms) }

// Sec formats seconds.
func (s pageView) Sec(seconds float64) string { return length(seconds) }

// Left formats milliseconds as seconds.
func (s pageView) Left(ms int64) string { return fmt.Sprintf("%.1f s", float64(ms)/1000) }

// moment is a time of day, formatted for programs and for people.
type moment struct{ Machine, Clock, Ago string }

// At formats a time to the second.
func (s pageView) At(t time.Time) *moment { return s.moment(t, "15:04:05") }

// Exact formats a time to the millisecond.
func (s pageView) Exact(t time.Time) *moment { return s.moment(t, "15:04:05.000") }

func (s pageView) moment(t time.Time, layout string) *moment {
	t, now := t.UTC(), s.Status.Time.UTC()
	if t.YearDay() != now.YearDay() || t.Year() != now.Year() {
		layout = "2006-01-02 " + layout
	}
	return &moment{t.Format(time.RFC3339Nano), t.Format(layout) + " UTC", ago(now.Sub(t))}
}

// ago formats how long ago something happened, or when it will.
func ago(d time.Duration) string {
	switch {
	case d > -time.Second && d < time.Second:
		return "just now"
	case d < 0:
		return "in " + about(-d)
	}
	return about(d) + " ago"
}

// about formats a duration in its largest suitable unit.
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

// length formats a measured duration, in seconds.
func length(seconds float64) string {
	switch {
	case seconds < 1:
		return fmt.Sprintf("%.0f ms", seconds*1000)
	case seconds < 120:
		return fmt.Sprintf("%.3g s", seconds)
	}
	return about(time.Duration(seconds * float64(time.Second)))
}

package cli

import (
	"fmt"
	"time"
)

// formatTime formats a time in UTC, as in vipd's log, with the date if that is another day.
func formatTime(t, now time.Time) string {
	if t = t.UTC(); t.Format(time.DateOnly) == now.UTC().Format(time.DateOnly) {
		return t.Format("15:04:05Z")
	}
	return t.Format("2006-01-02 15:04Z")
}

// formatDuration formats a duration with its two largest units.
func formatDuration(d time.Duration) string {
	s := int64(max(0, d).Seconds())
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min", s/60)
	case s < 86400:
		return fmt.Sprintf("%d h %d min", s/3600, s%3600/60)
	}
	return fmt.Sprintf("%d d %d h", s/86400, s%86400/3600)
}

// formatSeconds formats a measured duration.
func formatSeconds(s float64) string {
	switch {
	case s == 0:
		return ""
	case s < 10:
		return fmt.Sprintf("%.3f s", s)
	}
	return fmt.Sprintf("%.1f s", s)
}

// sinceText formats the start of a state and its age.
func sinceText(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprintf(" since %s (%s)", formatTime(t, now), formatDuration(now.Sub(t)))
}

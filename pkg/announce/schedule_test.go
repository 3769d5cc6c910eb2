package announce

import (
	"testing"
	"time"
)

func TestPause(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	for _, c := range []struct {
		step      int
		repeatFor time.Duration
		want      time.Duration
	}{
		{0, 0, 100 * ms},
		{1, 0, 200 * ms},
		{2, 0, 900 * ms},
		{3, 0, s},        // 1.2 s
		{6, 0, s},        // 4.2 s
		{7, 0, 30 * s},   // 5.2 s
		{500, 0, 30 * s}, // hours later
		{0, -s, 100 * ms},
		{7, -s, 30 * s},
		{7, 2 * s, 30 * s},
		{7, 5 * s, 30 * s},
		{7, 6 * s, s},
		{8, 6 * s, 30 * s}, // 6.2 s
		{16, 15 * s, s},    // 14.2 s
		{17, 15 * s, 30 * s},
		{7, 5200 * ms, 30 * s}, // the announcements end exactly at this time
		{2, 60 * s, 900 * ms},
	} {
		if got := pause(c.step, c.repeatFor); got != c.want {
			t.Errorf("pause(%d, %s) = %s, want %s", c.step, c.repeatFor, got, c.want)
		}
	}
}

// TestPauseAddsUp checks the schedule for any value of repeatFor.
func TestPauseAddsUp(t *testing.T) {
	for repeatFor := time.Duration(0); repeatFor < 20*time.Second; repeatFor += 70 * time.Millisecond {
		at := time.Duration(0)
		for step := 0; ; step++ {
			p := pause(step, repeatFor)
			if p > time.Second {
				break
			}
			at += p
		}
		if least := max(5*time.Second, repeatFor); at < least || at >= least+time.Second {
			t.Errorf("with repeatFor %s, frames are sent every second until %s", repeatFor, at)
		}
	}
}

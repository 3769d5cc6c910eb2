package analyse

import (
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
)

// Together returns for how long more than one MAC answered in the window, and whether that was
// still so in the last 100 ms of it. Each probe with several answers counts for one interval;
// answers that only alternate do not count, so the result is a lower bound.
func Together(answers []record.Answer, from, to record.Time) (total time.Duration, still bool) {
	const last = 100 * time.Millisecond
	first := make(map[uint32]string) // the first MAC that answered each probe
	counted := make(map[uint32]bool)
	for _, a := range byTime(answers) {
		if a.At < from || a.At > to {
			continue
		}
		who, seen := first[a.Seq]
		switch {
		case !seen:
			first[a.Seq] = a.MAC
		case who != a.MAC && !counted[a.Seq]:
			counted[a.Seq] = true
			total += record.ProbeInterval
			still = still || to.Sub(a.At) < last
		}
	}
	return total, still
}

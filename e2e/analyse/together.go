package analyse

import (
	"time"

	"github.com/vipd-io/vipd/e2e/record"
)

// Together returns for how long more than one MAC answered in the window, and
// whether that was still so in its last tenth of a second. Each probe that several
// answer counts for the time until the next one; answers that only alternate count
// for nothing, so it is at least that long.
func Together(answers []record.Answer, from, to record.Time) (total time.Duration, still bool) {
	const last = 100 * time.Millisecond
	first := make(map[uint32]string) // who answered a probe first
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

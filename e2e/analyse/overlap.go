package analyse

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vipd-io/vipd/e2e/record"
)

// alternation is how soon after its last answer a node may not answer again
// when another has answered in between, unless it claimed the lease anew: the VIP
// does not move there and back in less, so both held it.
const alternation = time.Second

// Overlap returns where two MACs answered at once, in two ways. A probe goes
// to all nodes at the same time, so one that two answer is a violation
// outright. And the answers, in the order in which they came, may change from
// A to B; one more by A within a second is a violation. Claims, if they are known,
// tell that it did move there and back: that B was silent by then is for another
// rule.
//
// The one allowance is for a frame that overtook another: an answer by A to
// an earlier probe than B's first, not later than one interval after it, is
// part of A's time.
func Overlap(answers []record.Answer, claims []record.LeaseVersion) []Violation {
	violations, single := answeredTwice(answers)
	return append(violations, alternating(single, claims)...)
}

// answeredTwice finds the probes with answers by more than one MAC, and
// returns the answers to the others in order of arrival.
func answeredTwice(answers []record.Answer) (violations []Violation, single []record.Answer) {
	answers = byTime(answers)
	macs := make(map[uint32][]string)
	for _, a := range answers {
		if !slices.Contains(macs[a.Seq], a.MAC) {
			macs[a.Seq] = append(macs[a.Seq], a.MAC)
		}
	}
	told := make(map[uint32]bool)
	for _, a := range answers {
		switch who := macs[a.Seq]; {
		case len(who) == 1:
			single = append(single, a)
		case !told[a.Seq]:
			told[a.Seq] = true
			violations = append(violations, Violation{Rule: AtMostOne, At: a.At, Seq: a.Seq, Why: fmt.Sprintf("probe %d is answered by %s", a.Seq, strings.Join(who, " and "))})
		}
	}
	return violations, single
}

func alternating(answers []record.Answer, claims []record.LeaseVersion) []Violation {
	var violations []Violation
	last := make(map[string]record.Time) // latest answer of each MAC
	var first record.Answer              // of the MAC that answers now
	for _, a := range answers {
		before, seen := last[a.MAC]
		last[a.MAC] = a.At
		if a.MAC == first.MAC {
			continue
		}
		if seen && a.Seq < first.Seq && a.At.Sub(first.At) <= record.ProbeInterval {
			continue // overtaken on its way
		}
		anew := slices.ContainsFunc(claims, func(c record.LeaseVersion) bool {
			return c.Holder == a.MAC && c.Sent > first.At && c.Sent <= a.At
		})
		if gap := a.At.Sub(before); seen && gap < alternation && !anew {
			violations = append(violations, Violation{Rule: AtMostOne, At: a.At, Seq: a.Seq, Why: fmt.Sprintf(
				"%s answers probe %d, %v after its last answer, and %s in between, since %v", a.MAC, a.Seq, gap, first.MAC, first.At)})
		}
		first = a
	}
	return violations
}

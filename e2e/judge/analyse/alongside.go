package analyse

import (
	"fmt"
	"slices"

	"github.com/vipd-io/vipd/e2e/judge/record"
)

// Alongside checks a time in which another program's elector used the Lease against the promise of
// one holder at a time: no node answers, accepts, announces or serves while the other one leads,
// which it claims for the given time; no node does so without a lease of its own; and no version of
// the Lease takes over from a holder whose lease is not over.
func Alongside(e record.Episode, other string, from, to record.Time) []Violation {
	found := slices.Concat(Measure(e).Twice, acceptsAlone(e), inTime(e), announces(e), serves(e), stolen(e))
	for _, s := range signs(e) {
		if s.at > from && s.at < to {
			return append(found, Violation{Rule: AfterClaim, At: s.at, Seq: s.seq, Why: fmt.Sprintf("%s %s while %s leads, from %v to %v", s.node, s.what, other, from, to)})
		}
	}
	return found
}

// stolen finds versions with another holder before the end of the lease before, if that lease was
// not released.
func stolen(e record.Episode) (found []Violation) {
	var before held
	for _, v := range Versions(e.History.Leases) {
		if v.Holder != "" && before.Holder != "" && v.Holder != before.Holder && v.Sent < before.until {
			found = append(found, Violation{Rule: Respects, At: v.Sent, Why: fmt.Sprintf("%s takes the lease of %s, which lasts until %v", v.Holder, before.Holder, before.until)})
		}
		before = holding(v)
	}
	return found
}

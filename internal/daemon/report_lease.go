package daemon

import (
	"fmt"

	"github.com/vipd-io/vipd/internal/status"
	"github.com/vipd-io/vipd/pkg/election"
)

// leaseWritten counts a claim or a renewal.
func (r *reporter) leaseWritten(w election.Write) {
	r.metrics.Renewal(string(w.Outcome), w.Took, w.Left)
}

// statusChanged keeps the claim with which the current holding began.
func (r *reporter) statusChanged(s election.Status) {
	if s.Held {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.claim = s.Claim
	}
}

// leaseObserved records a version of the Lease, and tells whether the holder changed.
func (r *reporter) leaseObserved(s election.Observation) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.since
	switch s.Holder {
	case "":
		if r.vacated == 0 {
			r.vacated, r.since = s.At, s.At
		}
	default:
		if s.Holder != r.last.Holder || r.vacated != 0 {
			r.since = s.At
		}
		if r.last.Holder != "" && s.Holder != r.last.Holder && s.Holder != r.node {
			r.moved(s) // the Manager reports the claims of this node itself
		}
		if s.Holder == r.last.Holder && s.Reason != r.last.Reason {
			r.durationChanged(s)
		}
		r.last, r.vacated = s, 0
	}
	since := r.since
	r.board.Update(func(f *status.Facts) {
		f.Lease = status.LeaseFacts{Known: true, Holder: s.Holder, MAC: s.MAC, HolderSince: since, Term: s.Term, Duration: s.Wait, Lengthened: string(s.Reason), Seen: s.At}
	})
	return since != before
}

// durationChanged records a new lease duration in the history.
func (r *reporter) durationChanged(s election.Observation) {
	why := map[election.Reason]string{election.Alone: "no other candidate is known", election.SlowStore: "renewals are slow",
		election.AsConfigured: "as configured"}[s.Reason]
	r.board.Add(status.Change{Time: r.board.At(s.At), Kind: status.Duration, Holder: s.Holder, Term: s.Term,
		Cause: fmt.Sprintf("lease duration %s, was %s: %s", s.Wait, r.last.Wait, why)})
}

// moved records a new holder in the history.
func (r *reporter) moved(s election.Observation) {
	cause, from := "the lease of "+r.last.Holder+" expired", r.last.At
	if r.vacated != 0 {
		cause, from = r.last.Holder+" released the lease", r.vacated
	}
	r.board.Add(status.Change{Time: r.board.At(s.At), Kind: status.Moved, Holder: s.Holder, Term: s.Term, Cause: cause,
		Seconds: s.At.Sub(from).Seconds(), Phases: r.board.Steps(
			status.Step{What: "last seen of " + r.last.Holder, At: r.last.At},
			status.Step{What: "seen without a holder", At: r.vacated},
			status.Step{What: "seen held by " + s.Holder, At: s.At})})
}

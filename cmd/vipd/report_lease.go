package main

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/kubeapi"
	"github.com/vipd-io/vipd/pkg/status"
)

// wrote counts a claim or a renewal.
func (r *reporter) wrote(w election.Write) { r.metrics.Renewal(string(w.Outcome), w.Took, w.Left) }

// asked counts writes of the Lease.
func (r *reporter) asked(q kubeapi.Request) {
	if q.Method == http.MethodGet || !strings.Contains(q.Path, "/leases") {
		return
	}
	code := "error"
	if q.Status != 0 {
		code = strconv.Itoa(q.Status)
	}
	r.metrics.LeaseRequest(q.Server, code)
}

// stands keeps how the present holding began.
func (r *reporter) stands(s election.Standing) {
	if s.Held {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.claim = s.Claim
	}
}

// saw takes in each version of the Lease, and tells whether the holder is another.
func (r *reporter) saw(s election.Sight) bool {
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
			r.moved(s) // what this node itself takes, the Manager tells
		}
		r.last, r.vacated = s, 0
	}
	since := r.since
	r.board.Tell(func(f *status.Facts) {
		f.Lease = status.LeaseFacts{Known: true, Holder: s.Holder, MAC: s.MAC, HolderSince: since, Term: s.Term, Duration: s.Wait, Seen: s.At}
	})
	return since != before
}

// moved notes that another node holds the lease than before.
func (r *reporter) moved(s election.Sight) {
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

package reach

import (
	"slices"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// record derives outages from the outcomes of probes, which arrive in any order: a failure is known
// at the timeout only, and later probes may have been answered by then. record is pure.
type record struct {
	outage Outage // the last one; Began is 0 before the first
	// good are the answers that may end an outage which is not known yet, in the order of their
	// arrival.
	good []answer
	// up is true after the first answer: before that, there is an outage only if an answer is
	// expected.
	up bool
}

// ongoing tells whether there is an outage now.
func (r *record) ongoing() bool { return r.outage.Began != 0 && r.outage.Ended == 0 }

// answered records the outcome of a probe, and tells whether the outage changed. A probe that was
// sent before the end of an outage is ignored: it tells nothing about the time after. expected:
// there is a reason to expect an answer even before the first one.
func (r *record) answered(a answer, expected bool) bool {
	switch {
	case !a.known || a.sent < r.outage.Ended:
		return false
	case a.err == nil:
		r.up = true
		return r.succeeded(a)
	case !r.up && !expected:
		return false
	case r.ongoing():
		r.outage.Began = min(r.outage.Began, a.sent)
		return false
	}
	r.outage = Outage{Began: a.sent, Ended: r.end(a.sent), Err: a.err}
	return true
}

// succeeded records an answer.
func (r *record) succeeded(a answer) bool {
	if r.ongoing() {
		if a.sent < r.outage.Began {
			return false
		}
		r.outage.Ended, r.good = a.came, nil
		return true
	}
	// A probe fails after timeout at the latest, so no older one can still fail.
	r.good = append(slices.DeleteFunc(r.good, func(g answer) bool { return g.sent.Add(2*timeout) < a.came }), a)
	return false
}

// end returns when the first answer to a probe that was sent after began came, 0 if there was none.
func (r *record) end(began boottime.Instant) boottime.Instant {
	var end boottime.Instant
	for _, g := range r.good {
		if g.sent > began && (end == 0 || g.came < end) {
			end = g.came
		}
	}
	return end
}

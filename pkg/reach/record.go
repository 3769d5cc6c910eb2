package reach

import (
	"slices"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// record makes outages of answers, which come in any order: that a question has no
// answer is known when it is given up, and others may have been answered by then. It
// is pure.
type record struct {
	outage Outage // the last one; Began is 0 before the first
	// good are answers that may end an outage which is not known yet, by when their
	// question was sent.
	good []answer
	// up: it answered at least once. What was never there cannot go.
	up bool
}

// dark tells whether an outage lasts.
func (r *record) dark() bool { return r.outage.Began != 0 && r.outage.Ended == 0 }

// answered takes in what came of a question, and tells whether the outage is another
// one now. What was sent before the end of an outage says nothing about the time
// after it.
func (r *record) answered(a answer) bool {
	switch {
	case !a.known || a.sent < r.outage.Ended:
		return false
	case a.err == nil:
		r.up = true
		return r.well(a)
	case !r.up:
		return false
	case r.dark():
		r.outage.Began = min(r.outage.Began, a.sent)
		return false
	}
	r.outage = Outage{Began: a.sent, Ended: r.end(a.sent), Err: a.err}
	return true
}

// well takes in a good answer.
func (r *record) well(a answer) bool {
	if r.dark() {
		if a.sent < r.outage.Began {
			return false
		}
		r.outage.Ended, r.good = a.came, nil
		return true
	}
	// Questions are given up after timeout, so no older one can still fail.
	r.good = append(slices.DeleteFunc(r.good, func(g answer) bool { return g.sent.Add(2*timeout) < a.came }), a)
	return false
}

// end is when the first answer came to a question that was sent later, 0 if none was.
func (r *record) end(began boottime.Instant) boottime.Instant {
	var end boottime.Instant
	for _, g := range r.good {
		if g.sent > began && (end == 0 || g.came < end) {
			end = g.came
		}
	}
	return end
}

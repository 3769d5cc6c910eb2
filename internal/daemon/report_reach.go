package daemon

import (
	"context"
	"errors"
	"net/url"

	"github.com/vipd-io/vipd/internal/reach"
	"github.com/vipd-io/vipd/internal/status"
)

// outageChanged records the beginning or the end of an outage.
func (r *reporter) outageChanged(o reach.Outage) {
	r.mu.Lock()
	holder, term := r.last.Holder, r.last.Term
	r.mu.Unlock()
	r.board.Update(func(f *status.Facts) {
		f.Outage = status.OutageFacts{Began: o.Began, Ended: o.Ended, Error: shortError(o.Err)}
	})
	if o.Ended == 0 {
		return
	}
	lasted := o.Ended.Sub(o.Began)
	r.metrics.Outage(lasted)
	r.board.Add(status.Change{Time: r.board.At(o.Ended), Kind: status.Dark, Holder: holder, Term: term, Seconds: lasted.Seconds(),
		Cause:  "the VIP did not answer " + r.node + ": " + shortError(o.Err),
		Phases: r.board.Steps(status.Step{What: "first probe without an answer", At: o.Began}, status.Step{What: "answered", At: o.Ended})})
}

// heldByAnother tells whether the newest Lease names another node as the holder.
func (r *reporter) heldByAnother() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last.Holder != "" && r.last.Holder != r.node && r.vacated == 0
}

// shortError returns why a request had no answer, without the method and URL.
func shortError(err error) string {
	var outer *url.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.As(err, &outer):
		return outer.Err.Error()
	}
	return err.Error()
}

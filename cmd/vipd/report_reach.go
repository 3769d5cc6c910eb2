package main

import (
	"context"
	"errors"
	"net/url"
	"slices"

	"github.com/vipd-io/vipd/pkg/health"
	"github.com/vipd-io/vipd/pkg/kubeapi"
	"github.com/vipd-io/vipd/pkg/reach"
	"github.com/vipd-io/vipd/pkg/status"
)

// serversAre takes in how the API servers do.
func (r *reporter) serversAre(roll kubeapi.Roll, s health.State) {
	list := []status.APIServer{{Node: r.node, Server: s.Local.Name, Local: true, State: s.Local.Verdict.String(), Reason: s.Local.Why, Leaving: roll.Leaving}}
	for _, m := range roll.Peers {
		a := status.APIServer{Node: m.Node, Server: m.Server, State: health.Unknown.String(), Leaving: m.Leaving}
		if i := slices.IndexFunc(s.Peers, func(p health.Server) bool { return p.Name == m.Server }); i >= 0 {
			a.State, a.Reason = s.Peers[i].Verdict.String(), s.Peers[i].Why
		}
		list = append(list, a)
	}
	r.board.Tell(func(f *status.Facts) { f.APIServers = list })
}

// dark takes in an outage, as it begins and as it ends.
func (r *reporter) dark(o reach.Outage) {
	r.mu.Lock()
	holder, term := r.last.Holder, r.last.Term
	r.mu.Unlock()
	r.board.Tell(func(f *status.Facts) {
		f.Outage = status.OutageFacts{Began: o.Began, Ended: o.Ended, Error: plainly(o.Err)}
	})
	if o.Ended == 0 {
		return
	}
	lasted := o.Ended.Sub(o.Began)
	r.metrics.Outage(lasted)
	r.board.Add(status.Change{Time: r.board.At(o.Ended), Kind: status.Dark, Holder: holder, Term: term, Seconds: lasted.Seconds(),
		Cause:  "the VIP did not answer " + r.node + ": " + plainly(o.Err),
		Phases: r.board.Steps(status.Step{What: "first question without an answer", At: o.Began}, status.Step{What: "answered", At: o.Ended})})
}

// plainly says why a question had no answer, without what everybody knows of it.
func plainly(err error) string {
	var outer *url.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.As(err, &outer):
		return outer.Err.Error()
	}
	return err.Error()
}

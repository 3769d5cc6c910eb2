package analyse

import (
	"fmt"
	"time"

	"github.com/vipd-io/vipd/e2e/record"
)

// How long after the end of a lease its address may be on a node.
const (
	// withdrawn: vipd takes it away 150 ms before that end.
	withdrawn = 300 * time.Millisecond
	// lapsed: the kernel does, by a lifetime of whole seconds, counted from when the
	// address was put up, that it looks at once a second (net/ipv4/devinet.c).
	lapsed = 2500 * time.Millisecond
)

// leaves finds addresses that are on a node for longer than its leases allow. The
// fence keeps them from being answered for; they are to go all the same.
func leaves(e record.Episode) (found []Violation) {
	slack := withdrawn
	if e.Promise.Crippled {
		slack = lapsed
	}
	leases := leases(e)
	for _, s := range presences(e.History) {
		until := s.From
		for _, l := range leases[s.Who] {
			if l.Sent <= min(s.To, until.Add(slack)) {
				until = max(until, l.until)
			}
		}
		if s.To > until.Add(slack) {
			found = append(found, Violation{Rule: Leaves, At: until.Add(slack), Why: fmt.Sprintf("%s has the address since %v, without a lease since %v and until %v", s.Who, s.From, until, s.To)})
		}
	}
	return found
}

// presences are the times in which each node had the address. One that was not seen
// to leave was there for as long as anybody looked.
func presences(h record.History) (out []Span) {
	last := record.Time(0)
	for _, p := range h.Probes {
		last = max(last, p.At)
	}
	present := make(map[string]int)
	for _, a := range h.Addresses {
		i, there := present[a.Node]
		switch {
		case a.Added && !there:
			present[a.Node] = len(out)
			out = append(out, Span{Who: a.Node, From: a.At, To: max(a.At, last)})
		case !a.Added && there:
			out[i].To = a.At
			delete(present, a.Node)
		}
	}
	return out
}

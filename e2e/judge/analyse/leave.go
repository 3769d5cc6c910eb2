package analyse

import (
	"fmt"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
)

// How long after the end of a lease its address may be on a node.
const (
	// withdrawn: vipd removes the address a margin before that end.
	withdrawn = 300 * time.Millisecond
	// lapsed: the kernel removes it, at the end of a lifetime of whole seconds that may be up to 2
	// s longer than the right, and which the kernel checks once a second (net/ipv4/devinet.c).
	lapsed = 3500 * time.Millisecond
)

// leaves finds addresses that are on a node for longer than its leases permit. The fence prevents
// answers for them, but they have to be removed all the same.
func leaves(e record.Episode) (found []Violation) {
	slack := withdrawn
	if e.Promise.Crippled {
		slack = lapsed
	}
	leases := leases(e)
	// end returns when the kernel should remove the address: if vipd was killed after its release
	// and before the removal, the lifetime counts as without a release.
	end := func(l held) record.Time {
		if e.Promise.Crippled {
			return holding(l.LeaseVersion).until
		}
		return l.until
	}
	for _, s := range presences(e.History) {
		until := s.From
		for _, l := range leases[s.Who] { // the newest counts, even if it is shorter
			if l.Sent <= min(s.To, until.Add(slack)) {
				until = max(s.From, end(l))
			}
		}
		if s.To > until.Add(slack) {
			found = append(found, Violation{Rule: Leaves, At: until.Add(slack), Why: fmt.Sprintf("%s has the address since %v, without a lease since %v and until %v", s.Who, s.From, until, s.To)})
		}
	}
	return found
}

// presences returns the times in which each node had the address. Without a record of the removal,
// the time ends with the record.
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

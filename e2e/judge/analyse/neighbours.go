package analyse

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
)

// convergence is the time after a change of holder after which no neighbour may use the MAC of
// another node.
const convergence = 1500 * time.Millisecond

// putBack is how soon a holder adds an address again that another program removed.
const putBack = 500 * time.Millisecond

// converges finds hosts that send to another node than the one that has had the VIP for a while. A
// host without an entry sends an ARP request first. The announcement of the next holder may be
// recorded before its address is.
func converges(e record.Episode) (found []Violation) {
	if e.Promise.Deafens {
		return nil
	}
	for _, t := range tenures(e) {
		settled := t.From.Add(convergence)
		for _, b := range beliefs(e) {
			from, to := max(settled, b.From), min(t.To, b.To)
			if to == t.To && to < e.End && from >= to.Add(-lateRead) {
				continue // an entry for the next holder
			}
			if node := e.Cluster.Node(b.mac); node != "" && node != t.Who && from < to {
				found = append(found, Violation{Rule: Converges, At: from, Why: fmt.Sprintf("%s sends to %s (%s) until %v, and %s has the address since %v", b.Who, b.mac, node, to, t.Who, t.From)})
			}
		}
	}
	return found
}

// tenures returns the times until the end of the fault in which a node had the VIP: from the
// addition of the address until its removal, or until another node got the address. A late removal
// on the former holder does not end the new holder's tenure, and a holder that adds the address
// again at once had it all the time.
func tenures(e record.Episode) (out []Span) {
	has := false
	end := func(at record.Time) {
		if has {
			out[len(out)-1].To = min(at, e.End)
		}
		has = false
	}
	events := slices.SortedStableFunc(slices.Values(e.History.Addresses), func(a, b record.AddressEvent) int { return cmp.Compare(a.At, b.At) })
	for _, a := range events {
		switch n := len(out); {
		case a.Added && !has && n > 0 && out[n-1].Who == a.Node && a.At.Sub(out[n-1].To) < putBack:
			has = true
		case a.Added:
			end(a.At)
			out, has = append(out, Span{Who: a.Node, From: a.At}), true
		case has && out[n-1].Who == a.Node:
			end(a.At)
		}
	}
	end(e.End)
	return out
}

// A belief is a time in which a host's ARP table had one MAC.
type belief struct {
	Span
	mac string
}

func beliefs(e record.Episode) (out []belief) {
	present := make(map[string]int)
	for _, n := range slices.SortedStableFunc(slices.Values(e.History.Neighbours), func(a, b record.Neighbour) int { return cmp.Compare(a.At, b.At) }) {
		if i, known := present[n.Host]; known {
			out[i].To = n.At
		}
		present[n.Host] = len(out)
		out = append(out, belief{Span{Who: n.Host, From: n.At, To: max(n.At, e.End)}, n.MAC})
	}
	return out
}

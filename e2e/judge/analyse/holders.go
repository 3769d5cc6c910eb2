package analyse

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
)

// serves returns the first request of each node that the node served without holding the lease at
// any instant of the request.
func serves(e record.Episode) (found []Violation) {
	leases := leases(e)
	reported := make(map[string]bool)
	for _, r := range e.History.Requests {
		if !r.OK() || reported[r.Node] || heldWithin(leases[r.Node], r.Start, r.End) {
			continue
		}
		reported[r.Node] = true
		found = append(found, Violation{Rule: Serves, At: r.Start, Why: fmt.Sprintf("%s serves a request from %v to %v without a lease: %s",
			cmp.Or(r.Node, "nobody known"), r.Start, r.End, latest(leases[r.Node], r.Start))})
	}
	return found
}

const (
	// lateRead is the maximum time from the send of an announcement to its record. A longer stall
	// of the observer is a gap.
	lateRead = 250 * time.Millisecond
	// once is the maximum duration of one announcement, which is two frames.
	once = 100 * time.Millisecond
)

// announces returns the first announcement of each node that does not hold the lease. One
// announcement is permitted if a process was stopped or killed: the process may be stopped between
// reading the clock and sending the frame (docs/guarantees.md, "Not promised").
func announces(e record.Episode) (found []Violation) {
	leases := leases(e)
	admitted := make(map[string]record.Time)
	reported := make(map[string]bool)
	for _, a := range slices.SortedStableFunc(slices.Values(e.History.Announcements), func(a, b record.Announcement) int { return cmp.Compare(a.At, b.At) }) {
		node := e.Cluster.Node(a.MAC)
		if node == "" || reported[node] || heldWithin(leases[node], a.At.Add(-lateRead), a.At) {
			continue
		}
		if first, seen := admitted[node]; e.Promise.Crippled && (!seen || a.At.Sub(first) < once) {
			admitted[node] = cmp.Or(first, a.At)
			continue
		}
		reported[node] = true
		found = append(found, Violation{Rule: Announces, At: a.At, Why: fmt.Sprintf("%s announces itself without a lease: %s", node, latest(leases[node], a.At))})
	}
	return found
}

// unknownMachines returns the first answer and the first announcement of a machine that is neither
// a node nor set up by the fault.
func unknownMachines(e record.Episode) (found []Violation) {
	nobody := func(mac string) bool { return e.Cluster.Node(mac) == "" && !e.Cluster.Stranger(mac) }
	if i := slices.IndexFunc(e.History.Answers, func(a record.Answer) bool { return nobody(a.MAC) }); i >= 0 {
		a := e.History.Answers[i]
		found = append(found, Violation{Rule: AtMostOne, At: a.At, Seq: a.Seq, Why: fmt.Sprintf("probe %d is answered by %s, which is not a node", a.Seq, a.MAC)})
	}
	if i := slices.IndexFunc(e.History.Announcements, func(a record.Announcement) bool { return nobody(a.MAC) }); i >= 0 {
		a := e.History.Announcements[i]
		found = append(found, Violation{Rule: Announces, At: a.At, Why: fmt.Sprintf("%s announces itself, which is not a node", a.MAC)})
	}
	return found
}

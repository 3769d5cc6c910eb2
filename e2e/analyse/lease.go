package analyse

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/vipd-io/vipd/e2e/record"
)

// Versions returns each version of the Lease once, as it was delivered first, in
// the order in which they were sent by holders and otherwise delivered.
func Versions(list []record.LeaseVersion) []record.LeaseVersion {
	seen := make(map[string]bool)
	var out []record.LeaseVersion
	for _, v := range slices.SortedStableFunc(slices.Values(list), func(a, b record.LeaseVersion) int { return cmp.Compare(a.At, b.At) }) {
		if !seen[v.Version] {
			seen[v.Version] = true
			out = append(out, v)
		}
	}
	return out
}

// askedAt is when each question was sent, by its number.
func askedAt(probes []record.Probe) map[uint32]record.Time {
	at := make(map[uint32]record.Time, len(probes))
	for _, p := range probes {
		at[p.Seq] = p.At
	}
	return at
}

// A held is a lease that a node wrote, with its end: its duration after it was
// sent, or the send of the node's release.
type held struct {
	record.LeaseVersion
	until record.Time
}

// leases returns those of each node, in the order in which they were sent. An edit
// by hand is none: it keeps the time of what it edits, or has a time to come.
func leases(e record.Episode) map[string][]held {
	all := make(map[string][]held)
	sent := make(map[string]map[record.Time]bool)
	for node := range e.Cluster.Nodes {
		sent[node] = make(map[record.Time]bool)
	}
	for _, v := range Versions(e.History.Leases) {
		if list := all[v.Released]; v.Released != "" {
			for i := range list {
				list[i].until = min(list[i].until, v.Sent)
			}
		}
		if of, node := sent[v.Holder]; node && !v.Deleted && !of[v.Sent] && v.Sent <= v.At {
			of[v.Sent] = true
			all[v.Holder] = append(all[v.Holder], held{v, v.Sent.Add(time.Duration(v.Seconds) * time.Second)})
		}
	}
	for _, list := range all {
		slices.SortStableFunc(list, func(a, b held) int { return cmp.Compare(a.Sent, b.Sent) })
	}
	return all
}

// inTime finds answers that no lease of the node covers: none that it wrote was
// sent less than its duration before, or it was given back since. Each is taken to
// be given as soon as the question was sent, and the write to be sent as late as
// the record tells, so what is found is wrong for sure.
func inTime(e record.Episode) (found []Violation) {
	asked := askedAt(e.History.Probes)
	leases := leases(e)
	told := make(map[string]bool)
	for _, a := range e.History.Answers {
		node := e.Cluster.Node(a.MAC)
		at, known := asked[a.Seq]
		if node == "" || !known || told[node] || covered(leases[node], at) {
			continue
		}
		told[node] = true // the first is enough to know
		found = append(found, Violation{Rule: InTime, At: at, Why: fmt.Sprintf("%s answers probe %d without a lease: %s", node, a.Seq, latest(leases[node], at))})
	}
	return found
}

func covered(list []held, at record.Time) bool {
	return slices.ContainsFunc(list, func(l held) bool {
		// The answer may come a moment before a claim that was sent is confirmed,
		// never before it was sent.
		return at < l.until && at >= l.Sent.Add(-record.ProbeInterval)
	})
}

func latest(list []held, at record.Time) string {
	last := "it never wrote one"
	for _, l := range list {
		if l.Sent <= at {
			last = fmt.Sprintf("its last of %d s was sent %v before, in term %d, and ended %v before", l.Seconds, at.Sub(l.Sent), l.Term, at.Sub(l.until))
		}
	}
	return last
}

// claims are the versions in which another node holds than in the one before.
func claims(e record.Episode) (out []record.LeaseVersion) {
	holder := ""
	for _, v := range Versions(e.History.Leases) {
		if v.Holder == holder || v.Holder == "" || v.Deleted {
			continue
		}
		if _, node := e.Cluster.Nodes[v.Holder]; !node {
			continue // edited by hand
		}
		if holder != "" {
			out = append(out, v)
		}
		holder = v.Holder
	}
	return out
}

// afterClaim finds answers by one node to questions that were sent after another
// had sent its claim: by then the former one has to be silent.
func afterClaim(e record.Episode) (found []Violation) {
	asked := askedAt(e.History.Probes)
	list := claims(e)
	for i, c := range list {
		until := record.Time(1<<63 - 1)
		if i+1 < len(list) {
			until = list[i+1].Sent
		}
		for _, a := range e.History.Answers {
			node := e.Cluster.Node(a.MAC)
			if at, known := asked[a.Seq]; known && node != "" && node != c.Holder && at > c.Sent && at < until {
				found = append(found, Violation{Rule: AfterClaim, At: at, Why: fmt.Sprintf("%s answers probe %d %v after %s claimed the lease in term %d", node, a.Seq, at.Sub(c.Sent), c.Holder, c.Term)})
				break
			}
		}
	}
	return found
}

// terms finds holders whose term is not above that of the one before. A Lease that
// was deleted takes its term along, for those who never saw it.
func terms(e record.Episode) (found []Violation) {
	before := record.LeaseVersion{Term: -1}
	for _, v := range Versions(e.History.Leases) {
		if v.Deleted {
			before = record.LeaseVersion{Term: -1}
			continue
		}
		if _, node := e.Cluster.Nodes[v.Holder]; !node {
			continue
		}
		if v.Holder != before.Holder && v.Term <= before.Term {
			found = append(found, Violation{Rule: Terms, At: v.At, Why: fmt.Sprintf("%s holds in term %d, after %s in term %d", v.Holder, v.Term, before.Holder, before.Term)})
		}
		before = v
	}
	return found
}

// putRight looks whether the Lease of a holder that stays is as it was when the
// fault has come to what it came to.
func putRight(e record.Episode) []Violation {
	var list []record.LeaseVersion
	for _, v := range Versions(e.History.Leases) {
		if v.At <= e.End {
			list = append(list, v)
		}
	}
	if len(list) == 0 {
		return nil // inTime says so
	}
	first, last := list[0], list[len(list)-1]
	if last.Holder == e.Holder && last.Seconds == first.Seconds && !last.Deleted {
		return nil
	}
	return []Violation{{Rule: PutRight, At: last.At, Why: fmt.Sprintf("it names %q, %d s, deleted=%t; %s had it for %d s",
		last.Holder, last.Seconds, last.Deleted, e.Holder, first.Seconds)}}
}

// causes compares the number of changes of holder during the fault with what it
// is a cause for.
func causes(e record.Episode) []Violation {
	allowed := e.Promise.Changes()
	changes := 0
	for _, c := range claims(e) {
		if inside(e, c.Sent) {
			changes++
		}
	}
	if changes <= allowed {
		return nil
	}
	return []Violation{{Rule: Causes, At: e.At, Why: fmt.Sprintf("the holder changed %d times, want at most %d", changes, allowed)}}
}

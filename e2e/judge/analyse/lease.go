package analyse

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
)

// Versions returns each version of the Lease once, when it was first delivered, in the order of
// delivery.
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

// askedAt returns when each probe was sent, by its number.
func askedAt(probes []record.Probe) map[uint32]record.Time {
	at := make(map[uint32]record.Time, len(probes))
	for _, p := range probes {
		at[p.Seq] = p.At
	}
	return at
}

// knockedAt returns when each knock was sent, by its number.
func knockedAt(knocks []record.Knock) map[uint32]record.Time {
	at := make(map[uint32]record.Time, len(knocks))
	for _, k := range knocks {
		at[k.Seq] = k.At
	}
	return at
}

// A held is a lease that a node wrote, with its end: its duration after the send, or the send of
// the node's release. The fence stops the node before that.
type held struct {
	record.LeaseVersion
	until, stops record.Time
}

// fenced is how much later than the time in the record a fence may close: that time is taken before
// the goroutine of the write starts and arms the fence, and nftables' timers count jiffies of up to
// 10 ms.
const fenced = 50 * time.Millisecond

// margin returns for how long before the end of a lease its holder has to be silent
// (docs/architecture.md, "The arithmetic").
func margin(lease time.Duration) time.Duration {
	return max(150*time.Millisecond, lease*11/100+20*time.Millisecond)
}

func holding(v record.LeaseVersion) held {
	lease := time.Duration(v.Seconds) * time.Second
	return held{v, v.Sent.Add(lease), v.Sent.Add(lease - margin(lease) + fenced)}
}

func (h *held) end(at record.Time) { h.until, h.stops = min(h.until, at), min(h.stops, at) }

// leases returns the leases of each node, in the order of their send. Edits by hand are ignored:
// they keep the time of the version that they edit, or have a future time.
func leases(e record.Episode) map[string][]held {
	all := make(map[string][]held)
	sent := make(map[string]map[record.Time]bool)
	for node := range e.Cluster.Nodes {
		sent[node] = make(map[record.Time]bool)
	}
	for _, v := range Versions(e.History.Leases) {
		if list := all[v.Released]; v.Released != "" {
			for i := range list {
				list[i].end(v.Sent)
			}
		}
		if of, node := sent[v.Holder]; node && !v.Deleted && !of[v.Sent] && v.Sent <= v.At {
			of[v.Sent] = true
			all[v.Holder] = append(all[v.Holder], holding(v))
		}
	}
	for _, list := range all {
		slices.SortStableFunc(list, func(a, b held) int { return cmp.Compare(a.Sent, b.Sent) })
	}
	return all
}

// A sign of holding the VIP is an answer or an acceptance, at the time of its query.
type sign struct {
	node string
	at   record.Time
	what string
	seq  uint32 // of a probe, for the timeline
}

// accepted returns the acceptances that result from vipd: none if there are copies of the VIP, for
// which kernels accept packets in any case.
func accepted(e record.Episode) []record.Acceptance {
	if e.Promise.Copies {
		return nil
	}
	return e.History.Acceptances
}

// signs returns the signs of the nodes, in the order of their queries.
func signs(e record.Episode) (out []sign) {
	asked, knocked := askedAt(e.History.Probes), knockedAt(e.History.Knocks)
	for _, a := range e.History.Answers {
		if at, known := asked[a.Seq]; known {
			out = append(out, sign{e.Cluster.Node(a.MAC), at, fmt.Sprintf("answers probe %d", a.Seq), a.Seq})
		}
	}
	for _, a := range accepted(e) {
		if at, known := knocked[a.Seq]; known {
			out = append(out, sign{e.Cluster.Node(a.MAC), at, fmt.Sprintf("accepts knock %d", a.Seq), 0})
		}
	}
	out = slices.DeleteFunc(out, func(s sign) bool { return s.node == "" })
	slices.SortStableFunc(out, func(a, b sign) int { return cmp.Compare(a.at, b.at) })
	return out
}

// inTime finds answers and acceptances that are not covered by the node's newest lease: it was sent
// earlier than its duration less the margin before, or was released since. An older, longer lease
// does not count: the others wait for the newest only. Each answer counts at the send of its query,
// so violations are certain.
func inTime(e record.Episode) (found []Violation) {
	leases := leases(e)
	reported := make(map[string]bool)
	for _, s := range signs(e) {
		if reported[s.node] || heldWithin(leases[s.node], s.at, s.at) {
			continue
		}
		reported[s.node] = true // the first one is enough
		found = append(found, Violation{Rule: InTime, At: s.at, Seq: s.seq, Why: fmt.Sprintf("%s %s without a lease: %s", s.node, s.what, latest(leases[s.node], s.at))})
	}
	return found
}

// heldWithin tells whether the node might have had the VIP at an instant from one time to another:
// its newest lease by then was not over. An effect may be seen a moment before the claim is
// confirmed, but not before it was sent.
func heldWithin(list []held, from, to record.Time) bool {
	for i, l := range list {
		stops := l.stops
		if i+1 < len(list) {
			stops = min(stops, list[i+1].Sent)
		}
		if l.Sent.Add(-record.ProbeInterval) <= to && from < stops {
			return true
		}
	}
	return false
}

func latest(list []held, at record.Time) string {
	last := "the node never wrote a lease"
	for _, l := range list {
		if l.Sent <= at {
			last = fmt.Sprintf("the last lease, of %d s, was sent %v before, in term %d, and the node had to be silent since %v", l.Seconds, at.Sub(l.Sent), l.Term, at.Sub(l.stops))
		}
	}
	return last
}

// claims returns the versions with another holder than the version before.
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

// afterClaim finds queries that a node answered although they were sent after another node had sent
// its claim: the former holder has to be silent by then.
func afterClaim(e record.Episode) (found []Violation) {
	list, all := claims(e), signs(e)
	for i, c := range list {
		until := record.Time(1<<63 - 1)
		if i+1 < len(list) {
			until = list[i+1].Sent
		}
		for _, s := range all {
			if s.node != c.Holder && s.at > c.Sent && s.at < until {
				found = append(found, Violation{Rule: AfterClaim, At: s.at, Seq: s.seq, Why: fmt.Sprintf("%s %s %v after %s claimed the lease in term %d", s.node, s.what, s.at.Sub(c.Sent), c.Holder, c.Term)})
				break
			}
		}
	}
	return found
}

// counts is the highest term that vipd respects: a higher one was written by a person.
const counts = 1 << 30

// terms finds holders whose term is not higher than the term before. Deleting the Lease deletes the
// term, too, for nodes that never observed the Lease.
func terms(e record.Episode) (found []Violation) {
	before := record.LeaseVersion{Term: -1}
	for _, v := range Versions(e.History.Leases) {
		if v.Deleted {
			before = record.LeaseVersion{Term: -1}
			continue
		}
		if _, node := e.Cluster.Nodes[v.Holder]; !node || v.Term > counts {
			continue
		}
		if v.Holder != before.Holder && v.Term <= before.Term {
			found = append(found, Violation{Rule: Terms, At: v.At, Why: fmt.Sprintf("%s holds in term %d, after %s in term %d", v.Holder, v.Term, before.Holder, before.Term)})
		}
		before = v
	}
	return found
}

// putRight checks that the Lease of a holder that stays is restored at the end of the fault.
func putRight(e record.Episode) []Violation {
	var list []record.LeaseVersion
	for _, v := range Versions(e.History.Leases) {
		if v.At <= e.End {
			list = append(list, v)
		}
	}
	if len(list) == 0 {
		return nil // inTime reports that
	}
	first, last := list[0], list[len(list)-1]
	shortened := first.Lengthened && time.Duration(last.Seconds)*time.Second == configured
	own := last.Seconds == first.Seconds || last.Lengthened || shortened
	if last.Holder == e.Holder && own && !last.Deleted {
		return nil
	}
	return []Violation{{Rule: PutRight, At: last.At, Why: fmt.Sprintf("the Lease names %q, %d s, deleted=%t; before, it named %s, %d s",
		last.Holder, last.Seconds, last.Deleted, e.Holder, first.Seconds)}}
}

// causes compares the number of changes of holder, during the fault and while the lab heals it,
// with the number of causes. The lab heals by starting servers, which can keep a busy machine from
// renewing: that is a cause, too. It shows in the observers, which share the processors.
func causes(e record.Episode, gaps []Gap) (found []Violation) {
	changes, later := 0, 0
	for _, c := range claims(e) {
		switch {
		case inside(e, c.Sent):
			changes++
		case c.Sent > e.End && !starved(c, gaps):
			later++
		}
	}
	if allowed := e.Promise.Changes(); changes > allowed {
		found = append(found, Violation{Rule: Causes, At: e.At, Why: fmt.Sprintf("the holder changed %d times, want at most %d", changes, allowed)})
	}
	if allowed := e.Promise.Heals; later > allowed {
		found = append(found, Violation{Rule: Causes, At: e.End, Why: fmt.Sprintf("the holder changed %d times while the lab healed, want at most %d", later, allowed)})
	}
	return found
}

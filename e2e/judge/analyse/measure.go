package analyse

import (
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
)

// Measures are the measured values of an episode.
type Measures struct {
	// Unreachable is the longest time in which no new HTTPS connection got an answer from the VIP.
	Unreachable time.Duration
	// Unanswered is the longest time in which no node answered a query for the VIP, by ARP or by
	// accepting a packet.
	Unanswered time.Duration
	// Failed counts the requests that failed.
	Failed int
	// Answered counts the ARP answers by node, Twice is evidence of two nodes that answered at
	// once. Both ignore strangers of the fault.
	Answered map[string]int
	Twice    []Violation
	// StrangerAnswered counts the answers of the fault's strangers.
	StrangerAnswered int
	// Announced is the time from the addition of the address on the next holder to its first
	// announcement on the wire; Moved tells whether there was one.
	Announced time.Duration
	Moved     bool
	// IdleNoticed is the time until a client with an idle connection noticed its end, IdleDone the
	// time until it got an answer over a new connection; 0 if it did not.
	IdleNoticed, IdleDone time.Duration
}

// Measure computes the measured values: Twice over the whole history, the rest during the fault.
func Measure(e record.Episode) Measures {
	h := e.History
	answers, strange := ByNode(e)
	m := Measures{
		Unreachable: Outage(h.Requests, e.At, e.End), Twice: Overlap(h.Probes, answers, claims(e)),
		Answered: Answering(answers, e.At, e.End), StrangerAnswered: strange,
	}
	from, to := span(e)
	m.Unanswered = longestSilence(e, Unobserved(h, from, to)).length
	for _, q := range h.Requests {
		if q.Start >= e.At && q.End <= e.End && !q.OK() {
			m.Failed++
		}
	}
	if e.Promise.Moves {
		m.Announced, m.Moved = announced(e)
	}
	m.IdleNoticed, m.IdleDone = idle(h.Reconnects, e.At)
	return m
}

// ByNode returns the answers with node names in place of MACs (a node may have had two), without
// those of the fault's strangers, which it counts.
func ByNode(e record.Episode) (out []record.Answer, strange int) {
	for _, a := range e.History.Answers {
		if e.Cluster.Stranger(a.MAC) {
			strange++
			continue
		}
		if node := e.Cluster.Node(a.MAC); node != "" {
			a.MAC = node
		}
		out = append(out, a)
	}
	return out, strange
}

// announced returns the time from the addition of the address on the next holder to its first
// announcement. Different observers record the two, so the second may be recorded a little earlier
// than the first.
func announced(e record.Episode) (time.Duration, bool) {
	for _, ev := range e.History.Addresses {
		if ev.At < e.At || !ev.Added || ev.Node != e.Next {
			continue
		}
		for _, a := range e.History.Announcements {
			if a.At >= e.At && e.Cluster.Node(a.MAC) == e.Next {
				return max(0, a.At.Sub(ev.At)), true
			}
		}
	}
	return 0, false
}

// idle returns how long the idle client took, 0 if it did not notice.
func idle(list []record.Reconnect, at record.Time) (noticed, done time.Duration) {
	first, ok := FirstReconnectAfter(list, at)
	if !ok {
		return 0, 0
	}
	return first.Noticed.Sub(at), max(0, first.Done.Sub(at))
}

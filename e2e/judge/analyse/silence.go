package analyse

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
)

// For how long queries may go unanswered if the VIP stays. The load of the machine does not matter:
// kernels answer, and time without queries is left out.
const (
	// hiccup is five queries in a row.
	hiccup = 25 * time.Millisecond
	// hampered replaces hiccup if clients are cut off: possibly only knocks arrive, which are rare,
	// and may be late.
	hampered = 100 * time.Millisecond
)

// answered finds a time in which no node answered any query for the VIP, neither by ARP nor by
// accepting a packet, if it is longer than the fault permits.
func answered(e record.Episode, gaps []Gap) []Violation {
	bound := lengthened(e, cmp.Or(e.Promise.Within, e.Promise.Dark))
	if e.Promise.Stays() && !e.Promise.Flickers {
		bound = hiccup
		if e.Promise.MayFail {
			bound = hampered
		}
	}
	if d := longestSilence(e, gaps); bound > 0 && d.length > bound {
		return []Violation{{Rule: Answered, At: d.From, Why: fmt.Sprintf("no node answers until %v, in all for %v, want at most %v", d.To, d.length, bound)}}
	}
	return nil
}

// withoutProbes returns for how long no ARP probe was sent.
func withoutProbes(gaps []Gap, from, to record.Time) time.Duration {
	return unobservedIn(gaps, from, to, byHTTPS, byKnocks)
}

// A query is a packet that a node answers if it has the VIP.
type query struct {
	at       record.Time
	answered bool
}

// A silence is a time in which no node answered, with its observed duration.
type silence struct {
	Span
	length time.Duration
}

// longestSilence returns the longest silence of the fault.
func longestSilence(e record.Episode, gaps []Gap) (longest silence) {
	var begin record.Time
	before := true // the last query was answered
	for _, q := range queries(e) {
		if q.answered || !inside(e, q.at) {
			before = true
			continue
		}
		if before {
			begin, before = q.at, false
		}
		if length := q.at.Sub(begin) - withoutProbes(gaps, begin, q.at); length > longest.length {
			longest = silence{Span{From: begin, To: q.at}, length}
		}
	}
	return longest
}

func queries(e record.Episode) (all []query) {
	answers, acceptances := make(map[uint32]bool), make(map[uint32]bool)
	for _, a := range e.History.Answers {
		answers[a.Seq] = answers[a.Seq] || e.Cluster.Node(a.MAC) != ""
	}
	for _, a := range e.History.Acceptances {
		acceptances[a.Seq] = acceptances[a.Seq] || e.Cluster.Node(a.MAC) != ""
	}
	for _, p := range e.History.Probes {
		all = append(all, query{p.At, answers[p.Seq]})
	}
	// A round of knocks is one query: the node with the VIP answers one of them.
	round := query{at: -1}
	for _, k := range e.History.Knocks {
		if round.at >= 0 && k.At.Sub(round.at) >= record.KnockInterval/2 {
			all = append(all, round)
			round = query{at: k.At}
		}
		if round.at < 0 {
			round.at = k.At
		}
		round.answered = round.answered || acceptances[k.Seq]
	}
	if round.at >= 0 {
		all = append(all, round)
	}
	slices.SortStableFunc(all, func(a, b query) int { return cmp.Compare(a.at, b.at) })
	return all
}

package analyse

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
)

const (
	// tolerable is the longest time between two queries that is no gap.
	tolerable = 50 * time.Millisecond
	// maxUnobserved is the percentage of a window that may be unobserved, and minQueries the
	// percentage of the expected queries that are required.
	maxUnobserved = 20
	minQueries    = 50
)

// The window around a change of holder, in which two nodes would answer at once if they ever did:
// the former holder has to be silent, the next one starts.
const (
	beforeClaim = 200 * time.Millisecond
	afterwards  = 500 * time.Millisecond
	// missed is for how long the observers may miss a part of that window.
	missed = 150 * time.Millisecond
)

// Kinds of periodic queries.
const (
	byARP    = "ARP"
	byHTTPS  = "HTTPS"
	byKnocks = "TCP and ICMP"
)

// A Gap is a time in which something was not observed.
type Gap struct {
	What string      `json:"what"`
	From record.Time `json:"from"`
	To   record.Time `json:"to"`
}

func (g Gap) String() string {
	return fmt.Sprintf("%s not observed from %v to %v (%d ms)", g.What, g.From, g.To, g.To.Sub(g.From).Milliseconds())
}

// Unobserved returns the gaps in a window: times longer than tolerable without a query of one kind,
// and times in which the kernel dropped frames of an observer.
func Unobserved(h record.History, from, to record.Time) (gaps []Gap) {
	gaps = append(gaps, gapsOf(byARP, times(h.Probes, func(p record.Probe) record.Time { return p.At }), from, to)...)
	gaps = append(gaps, gapsOf(byHTTPS, times(h.Requests, func(r record.Request) record.Time { return r.Start }), from, to)...)
	if len(h.Knocks) > 0 { // bench and some tests observe without knocks
		gaps = append(gaps, gapsOf(byKnocks, times(h.Knocks, func(k record.Knock) record.Time { return k.At }), from, to)...)
	}
	for _, l := range h.Losses {
		if begin, end := max(l.Since, from), min(l.At, to); begin < end {
			gaps = append(gaps, Gap{What: fmt.Sprintf("%d frames that %s dropped", l.Frames, l.Host), From: begin, To: end})
		}
	}
	slices.SortStableFunc(gaps, func(a, b Gap) int { return cmp.Compare(a.From, b.From) })
	return gaps
}

func times[T any](list []T, at func(T) record.Time) []record.Time {
	out := make([]record.Time, 0, len(list))
	for _, v := range list {
		out = append(out, at(v))
	}
	slices.Sort(out)
	return out
}

func gapsOf(what string, asked []record.Time, from, to record.Time) (gaps []Gap) {
	last := from
	for _, at := range append(asked, to) {
		if at = min(at, to); at <= last {
			continue
		}
		if at.Sub(last) > tolerable {
			gaps = append(gaps, Gap{What: what, From: last, To: at})
		}
		last = at
	}
	return gaps
}

// span returns the time of the record, including the fault.
func span(e record.Episode) (from, to record.Time) {
	from, to = e.At, e.End
	for _, p := range e.History.Probes {
		from, to = min(from, p.At), max(to, p.At)
	}
	return from, to
}

// unobservedIn returns how much of a window is in gaps, except for gaps of some kinds.
func unobservedIn(gaps []Gap, from, to record.Time, except ...string) (sum time.Duration) {
	last := from
	for _, g := range gaps { // sorted by From
		if slices.Contains(except, g.What) {
			continue
		}
		if begin, end := max(g.From, last), min(g.To, to); begin < end {
			sum += end.Sub(begin)
			last = end
		}
	}
	return sum
}

// Blind returns for how long no ARP probe was sent, or frames were dropped.
func (v Verdict) Blind() time.Duration { return withoutProbes(v.Gaps, 0, 1<<63-1) }

// Enough returns an error if the record has too few queries to prove anything about the window, or
// is inconsistent.
func Enough(h record.History, from, to record.Time) error {
	if err := checkConsistent(h); err != nil {
		return err
	}
	if why := insufficient(h, Unobserved(h, from, to), from, to); why != "" {
		return fmt.Errorf("%s", why)
	}
	return nil
}

// checkConsistent returns an error if records were dropped, or if there are answers without a
// query.
func checkConsistent(h record.History) error {
	if h.Dropped > 0 {
		return fmt.Errorf("%d records were dropped", h.Dropped)
	}
	asked := askedAt(h.Probes)
	for _, a := range h.Answers {
		if _, sent := asked[a.Seq]; !sent {
			return fmt.Errorf("answer by %s at %v to probe %d, which was not sent", a.MAC, a.At, a.Seq)
		}
	}
	knocked := knockedAt(h.Knocks)
	for _, a := range h.Acceptances {
		if _, sent := knocked[a.Seq]; !sent {
			return fmt.Errorf("acceptance by %s at %v of knock %d, which was not sent", a.MAC, a.At, a.Seq)
		}
	}
	return nil
}

// insufficient returns why a record proves too little, "" if it does not.
func insufficient(h record.History, gaps []Gap, from, to record.Time) string {
	window := to.Sub(from)
	probes, requests := 0, 0
	for _, p := range h.Probes {
		if from <= p.At && p.At <= to {
			probes++
		}
	}
	for _, r := range h.Requests {
		if from <= r.Start && r.Start <= to {
			requests++
		}
	}
	if want := floor(window, record.ProbeInterval); probes < want {
		return fmt.Sprintf("%d probes in %v, want at least %d", probes, window, want)
	}
	if want := floor(window, record.RequestInterval); requests < want {
		return fmt.Sprintf("%d requests in %v, want at least %d", requests, window, want)
	}
	for _, others := range [][]string{{byHTTPS, byKnocks}, {byARP, byKnocks}, {byARP, byHTTPS}} {
		if unseen := unobservedIn(gaps, from, to, others...); unseen > window*maxUnobserved/100 {
			return fmt.Sprintf("not observed for %v of %v: %s", unseen, window, Sum(gaps))
		}
	}
	return ""
}

func floor(window, interval time.Duration) int { return int(window / interval * minQueries / 100) }

// starved tells whether the machine was so busy before a change of holder, for the duration of a
// lease and of the change, that observers were stalled as well.
func starved(c record.LeaseVersion, gaps []Gap) bool {
	lease := time.Duration(c.Seconds) * time.Second
	return withoutProbes(gaps, c.Sent.Add(-lease), c.Sent.Add(afterwards)) > missed
}

// missedChange returns which change of holder was not observed, "" if there is none.
func missedChange(e record.Episode, gaps []Gap) string {
	for _, c := range claims(e) {
		if c.Sent > e.End && starved(c, gaps) {
			return fmt.Sprintf("%s claimed the lease at %v while the lab healed the fault, and the machine was too busy to find the cause: %s", c.Holder, c.Sent, Sum(gaps))
		}
		from, to := c.Sent.Add(-beforeClaim), c.Sent.Add(afterwards)
		if unseen := withoutProbes(gaps, from, to); unseen > missed {
			return fmt.Sprintf("%s claimed the lease at %v, and for %v around that nothing was observed", c.Holder, c.Sent, unseen)
		}
	}
	return ""
}

// Sum summarizes the gaps in a line, "" for none.
func Sum(gaps []Gap) string {
	type sum struct {
		n            int
		all, longest time.Duration
	}
	var kinds []string
	sums := make(map[string]sum)
	for _, g := range gaps {
		if sums[g.What].n == 0 {
			kinds = append(kinds, g.What)
		}
		s, d := sums[g.What], g.To.Sub(g.From)
		sums[g.What] = sum{s.n + 1, s.all + d, max(s.longest, d)}
	}
	var words []string
	for _, k := range kinds {
		s := sums[k]
		words = append(words, fmt.Sprintf("%s %d times, %d ms in all, %d ms at most", k, s.n, s.all.Milliseconds(), s.longest.Milliseconds()))
	}
	return strings.Join(words, "; ")
}

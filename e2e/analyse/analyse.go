// Package analyse judges what the observers recorded. Its functions are pure,
// and their tests feed them histories that must not pass.
package analyse

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/vipd-io/vipd/e2e/record"
)

// Outage returns the longest stretch that overlaps the window in which no
// request was answered: the time between two successive answers, less the
// interval at which requests are made. Answers and not the starts of answered
// requests: one that began in the dark and was held up until the VIP was back
// did not find it reachable. A stretch that is open at either end of the record
// counts within the window.
func Outage(requests []record.Request, from, to record.Time) time.Duration {
	var good []record.Time
	for _, r := range requests {
		if r.OK() {
			good = append(good, r.End)
		}
	}
	slices.Sort(good)
	if len(good) == 0 || good[0] > from {
		good = slices.Insert(good, 0, from.Add(-record.RequestInterval))
	}
	if good[len(good)-1] < to {
		good = append(good, to)
	}
	var longest time.Duration
	for i, end := range good[1:] {
		if before := good[i]; before < to && end > from {
			longest = max(longest, end.Sub(before)-record.RequestInterval)
		}
	}
	return longest
}

// Answering counts the answers of each MAC in the window.
func Answering(answers []record.Answer, from, to record.Time) map[string]int {
	count := make(map[string]int)
	for _, a := range answers {
		if from <= a.At && a.At <= to {
			count[a.MAC]++
		}
	}
	return count
}

// Silence returns the longest time without an answer in the window.
func Silence(answers []record.Answer, from, to record.Time) time.Duration {
	last := from
	var longest time.Duration
	for _, a := range byTime(answers) {
		if a.At < from || a.At > to {
			continue
		}
		longest = max(longest, a.At.Sub(last))
		last = a.At
	}
	return max(longest, to.Sub(last))
}

// FirstAnnouncementAfter returns the first announcement at or after the given
// time.
func FirstAnnouncementAfter(list []record.Announcement, at record.Time) (record.Announcement, bool) {
	var first record.Announcement
	found := false
	for _, a := range list {
		if a.At >= at && (!found || a.At < first.At) {
			first, found = a, true
		}
	}
	return first, found
}

// FirstReconnectAfter returns the first loss of an idle connection that was
// noticed at or after the given time.
func FirstReconnectAfter(list []record.Reconnect, at record.Time) (record.Reconnect, bool) {
	var first record.Reconnect
	found := false
	for _, c := range list {
		if c.Noticed >= at && (!found || c.Noticed < first.Noticed) {
			first, found = c, true
		}
	}
	return first, found
}

// Enough returns an error if the record is too thin to prove anything about
// the window: fewer than 80 % of the probes or requests that the intervals
// promise, records that were dropped, or answers to probes nobody sent.
func Enough(h record.History, from, to record.Time) error {
	if h.Dropped > 0 {
		return fmt.Errorf("%d records were dropped", h.Dropped)
	}
	sent := make(map[uint32]bool, len(h.Probes))
	probes := 0
	for _, p := range h.Probes {
		sent[p.Seq] = true
		if from <= p.At && p.At <= to {
			probes++
		}
	}
	for _, a := range h.Answers {
		if !sent[a.Seq] {
			return fmt.Errorf("answer by %s at %v to probe %d, which was not sent", a.MAC, a.At, a.Seq)
		}
	}
	requests := 0
	for _, r := range h.Requests {
		if from <= r.Start && r.Start <= to {
			requests++
		}
	}
	window := to.Sub(from)
	if want := floor(window, record.ProbeInterval); probes < want {
		return fmt.Errorf("%d probes in %v, want at least %d", probes, window, want)
	}
	if want := floor(window, record.RequestInterval); requests < want {
		return fmt.Errorf("%d requests in %v, want at least %d", requests, window, want)
	}
	return nil
}

func floor(window, interval time.Duration) int { return int(window / interval * 8 / 10) }

// byTime returns the answers in the order of their arrival.
func byTime(answers []record.Answer) []record.Answer {
	return slices.SortedStableFunc(slices.Values(answers), func(a, b record.Answer) int { return cmp.Compare(a.At, b.At) })
}

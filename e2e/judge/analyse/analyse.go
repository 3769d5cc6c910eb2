// Package analyse judges the records of the observers. Its functions are pure, and their tests use
// histories that must fail.
//
// # What is certain
//
// All times are readings of one clock, CLOCK_MONOTONIC of the machine of the lab, so comparisons
// need no tolerance for clocks. But an observer makes a record when it gets the processor, which on
// a busy machine may be late. So a query has the time just before it was sent, and its answer the
// time just after it was read: the node acted between the two. A rule is broken only if it is
// broken at every instant between these times:
//
//   - When compared with the end of a lease, an answer or an acceptance counts from the send of its
//     query; it was given later.
//   - Of two nodes, one answered before the other only if its answer was read before the other's
//     query was sent; or if both answers came through one socket, in that order.
//   - A request may have been served at any instant between its start and its end, and an
//     announcement may have been sent a while before it was read.
//   - The end of a lease counts from the time that its holder wrote. The fence is armed later, by
//     the start of a goroutine, and its timers count jiffies: see fenced.
//
// # What is not observed
//
// Two clients send ARP probes, of which a fault of the lab cuts off one at most, and one of the two
// sends TCP and ICMP knocks to each node. The observers share the processors with what they
// observe, so a busy machine causes gaps: times without a query. A gap is no error, neither of vipd
// nor of the run. But a broken rule could hide in it, so the verdict reports each gap over 50 ms as
// "not observed from..to" (Verdict.Gaps), and covers the rest of the time only.
//
// Gaps fail a run in two cases only. The episode then counts as unproven, not as broken
// (Verdict.Unproven), and may be repeated. First, if gaps cover a fifth of the fault, or half of
// the queries are missing. Second, if gaps cover more than 150 ms of the 700 ms around a change of
// holder, the moment at which two nodes would answer at once if they ever did: the fence of the
// former holder closes, the next holder starts. A gap of 50 to 150 ms there leaves at least 550 ms
// observed, on both sides of it: two nodes that answer at once for longer than the gap are
// detected, and so is a former holder that goes on.
//
// Violations that are found despite gaps are certain: a gap produces no answers. The rules about
// silence count queries without an answer, so time without queries does not count.
package analyse

import (
	"cmp"
	"slices"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
)

// Outage returns the longest time overlapping the window in which no request was answered: the time
// between two successive answers, less the interval between requests. It counts answers and not the
// starts of answered requests: a request that started during the outage and was answered after it
// did not find the VIP reachable. A time that is open at either end of the record counts within the
// window.
func Outage(requests []record.Request, from, to record.Time) time.Duration {
	return outage(requests, from, to, func(record.Time, record.Time) time.Duration { return 0 })
}

// outage returns the same as Outage, less what `less` returns for each such time.
func outage(requests []record.Request, from, to record.Time, less func(from, to record.Time) time.Duration) time.Duration {
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
			longest = max(longest, end.Sub(before)-record.RequestInterval-less(before, end))
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

// byTime returns the answers in the order of their arrival.
func byTime(answers []record.Answer) []record.Answer {
	return slices.SortedStableFunc(slices.Values(answers), func(a, b record.Answer) int { return cmp.Compare(a.At, b.At) })
}

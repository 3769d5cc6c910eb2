package analyse

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
)

// alternation is the time within which a node may not answer again after another node has answered
// in between, unless it claimed the lease again: the VIP does not move there and back in less time,
// so both held it.
const alternation = time.Second

// A reply proves that a node had the VIP at an instant between the query and the time at which the
// reply was read.
type reply struct {
	who       string
	seq       uint32
	asked, at record.Time
	// queue names the socket of the reply, if replies are in order there. A reply may overtake
	// another one by one interval.
	queue string
}

// after tells whether r was certainly given after q.
func (r reply) after(q reply) bool {
	if r.queue != "" && r.queue == q.queue {
		overtaken := r.asked < q.asked && r.at.Sub(q.at) <= record.ProbeInterval
		return r.at > q.at && !overtaken
	}
	return r.asked > q.at
}

// Overlap returns where two MACs answered ARP at once, in two ways. A probe reaches all nodes at
// the same time, so two answers to it are a violation. Of the other answers, one of A, then one of
// B, and another one of A within a second are a violation, if that order is certain. Known claims
// explain a move there and back: another rule checks that B was silent by then.
func Overlap(probes []record.Probe, answers []record.Answer, claims []record.LeaseVersion) []Violation {
	violations, single := answeredTwice(answers)
	asked := make(map[uint32]record.Probe, len(probes))
	for _, p := range probes {
		asked[p.Seq] = p
	}
	var replies []reply
	for _, a := range single {
		p := asked[a.Seq]
		replies = append(replies, reply{who: a.MAC, seq: a.Seq, asked: p.At, at: a.At, queue: "socket of " + p.From})
	}
	return append(violations, alternating(AtMostOne, "answers probe", replies, claims)...)
}

// acceptsAlone finds two nodes that accepted packets for the VIP at once: A, then B, and A again,
// by the times of send and read only, because the answer to a SYN may be repeated a second later.
// This does not find two nodes that accept for less than two rounds of knocks; inTime does.
func acceptsAlone(e record.Episode) []Violation {
	asked := knockedAt(e.History.Knocks)
	var replies []reply
	for _, a := range accepted(e) {
		if node := e.Cluster.Node(a.MAC); node != "" {
			replies = append(replies, reply{who: node, seq: a.Seq, asked: asked[a.Seq], at: a.At})
		}
	}
	found := alternating(AcceptsAlone, "accepts knock", replies, claims(e))
	for i := range found {
		found[i].Seq = 0 // knocks have no number for the timeline
	}
	return found[:min(1, len(found))] // there is one in each round
}

// answeredTwice finds the probes with answers of more than one MAC, and returns the answers to the
// others in order of arrival.
func answeredTwice(answers []record.Answer) (violations []Violation, single []record.Answer) {
	answers = byTime(answers)
	macs := make(map[uint32][]string)
	for _, a := range answers {
		if !slices.Contains(macs[a.Seq], a.MAC) {
			macs[a.Seq] = append(macs[a.Seq], a.MAC)
		}
	}
	reported := make(map[uint32]bool)
	for _, a := range answers {
		switch who := macs[a.Seq]; {
		case len(who) == 1:
			single = append(single, a)
		case !reported[a.Seq]:
			reported[a.Seq] = true
			violations = append(violations, Violation{Rule: AtMostOne, At: a.At, Seq: a.Seq, Why: fmt.Sprintf("probe %d is answered by %s", a.Seq, strings.Join(who, " and "))})
		}
	}
	return violations, single
}

// alternating finds the first reply of each return to a node that had the VIP before.
func alternating(rule Rule, does string, replies []reply, claims []record.LeaseVersion) (violations []Violation) {
	slices.SortStableFunc(replies, func(a, b reply) int { return int(a.at - b.at) })
	of := make(map[string][]reply)              // the replies of each node so far
	reported := make(map[[2]string]record.Time) // when the other node had the VIP, in the last reported violation of the two
	for _, again := range replies {
		for _, other := range slices.Sorted(maps.Keys(of)) {
			between, found := latestBefore(of[other], again)
			if other == again.who || !found || reported[[2]string{again.who, other}] == between.at {
				continue
			}
			first, found := latestBefore(of[again.who], between)
			gap := again.at.Sub(first.at)
			if !found || gap >= alternation || claimedBetween(claims, again.who, first.at, again.at) {
				continue
			}
			reported[[2]string{again.who, other}] = between.at
			violations = append(violations, Violation{Rule: rule, At: again.at, Seq: again.seq, Why: fmt.Sprintf(
				"%s %s %d, %v after it did before, and %s in between, at %v", again.who, does, again.seq, gap, other, between.at)})
			break
		}
		of[again.who] = append(of[again.who], again)
	}
	return violations
}

// latestBefore returns the last reply of a list that was certainly given before another one, and
// not longer than alternation ago.
func latestBefore(list []reply, than reply) (reply, bool) {
	for _, r := range slices.Backward(list) {
		if than.at.Sub(r.at) >= alternation {
			break
		}
		if than.after(r) {
			return r, true
		}
	}
	return reply{}, false
}

// claimedBetween tells whether the node claimed the lease in between.
func claimedBetween(claims []record.LeaseVersion, who string, from, to record.Time) bool {
	return slices.ContainsFunc(claims, func(c record.LeaseVersion) bool { return c.Holder == who && c.Sent > from && c.Sent <= to })
}

package failover

import (
	"fmt"
	"time"

	"github.com/vipd-io/vipd/e2e/analyse"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/record"
)

// Outcome is what one fault came to.
type Outcome struct {
	Fault Fault
	// Holder had the VIP before, Next has it after; Wanted was to have it, "" if
	// any other might.
	Holder, Next, Wanted string
	// Stuck is what was waited for in vain, nil if it came.
	Stuck error
	// EtcdLeader: the holder's etcd member led, so a fault that takes it along
	// makes etcd elect as well.
	EtcdLeader bool
	// Unreachable is the longest time in which no new HTTPS connection got an
	// answer from the VIP.
	Unreachable time.Duration
	// Failed counts the requests that failed.
	Failed int
	// Answered counts the ARP answers by node, Twice is evidence of two at once.
	// A stranger that the fault sets up is in neither.
	Answered map[string]int
	Twice    []analyse.Violation
	// StrangerAnswered counts what that one answered.
	StrangerAnswered int
	// Announced is the time from the address being up on the next holder to its
	// first announcement on the wire; Moved tells whether there was one.
	Announced time.Duration
	Moved     bool
	// IdleNoticed is the time until a client whose connection lay idle noticed
	// its end, IdleDone until it had an answer over a new one; 0: it did not.
	IdleNoticed, IdleDone time.Duration

	History record.History
	At      record.Time
}

// outcome draws up what was seen.
func (r *run) outcome(h record.History) Outcome {
	answers, strange := r.byNode(h.Answers)
	out := Outcome{
		Fault: r.fault, Holder: r.holder.Name, Next: r.next, Stuck: r.stuck, History: h, At: r.at,
		Unreachable: analyse.Outage(h.Requests, r.at, r.end), Twice: analyse.Overlap(answers),
		Answered: analyse.Answering(answers, r.at, r.end), StrangerAnswered: strange,
	}
	if r.target != nil {
		out.Wanted = r.target.Name
	}
	for _, q := range h.Requests {
		if q.Start >= r.at && q.End <= r.end && !q.OK() {
			out.Failed++
		}
	}
	if r.fault.Moves {
		out.Announced, out.Moved = r.announced(h)
	}
	out.IdleNoticed, out.IdleDone = idle(h.Reconnects, r.at)
	return out
}

// byNode returns the answers with names of nodes in place of their MACs, of which
// one may have had two, and without those of the fault's stranger, whom it counts.
func (r *run) byNode(answers []record.Answer) (out []record.Answer, strange int) {
	var stranger *lab.Host
	if r.fault.Stranger != nil {
		stranger = r.fault.Stranger(r.lab)
	}
	for _, a := range answers {
		if stranger != nil && stranger.HadMAC(a.MAC) {
			strange++
			continue
		}
		if node := r.lab.Node(a.MAC); node != nil {
			a.MAC = node.Name
		}
		out = append(out, a)
	}
	return out, strange
}

// announced is the time from the address being up on the next holder to its
// first announcement. The two are seen by different observers, so the second
// may be recorded a little before the first.
func (r *run) announced(h record.History) (time.Duration, bool) {
	for _, e := range h.Addresses {
		if e.At < r.at || !e.Added || e.Node != r.next {
			continue
		}
		for _, a := range h.Announcements {
			if node := r.lab.Node(a.MAC); a.At >= r.at && node != nil && node.Name == r.next {
				return max(0, a.At.Sub(e.At)), true
			}
		}
	}
	return 0, false
}

// idle is how long the idle client took, 0 for never.
func idle(list []record.Reconnect, at record.Time) (noticed, done time.Duration) {
	first, ok := analyse.FirstReconnectAfter(list, at)
	if !ok {
		return 0, 0
	}
	return first.Noticed.Sub(at), max(0, first.Done.Sub(at))
}

// Problems tells what of the outcome is not as the fault's fields promise. All of
// it holds in every run, whatever the machine is like today.
func (o Outcome) Problems() []string {
	var found []string
	for _, v := range o.Twice {
		found = append(found, fmt.Sprintf("two nodes answered at once: %v", v))
	}
	if o.Stuck != nil {
		found = append(found, o.Stuck.Error())
	}
	if o.Fault.Moves {
		return append(found, o.notMoved()...)
	}
	return append(found, o.notStayed()...)
}

// AsExpected tells whether there are no problems.
func (o Outcome) AsExpected() bool { return len(o.Problems()) == 0 }

func (o Outcome) notMoved() []string {
	var found []string
	if o.Next == o.Holder || o.Next == "" {
		found = append(found, fmt.Sprintf("the VIP is on %q, want another node than %s", o.Next, o.Holder))
	}
	if o.Wanted != "" && o.Next != o.Wanted {
		found = append(found, fmt.Sprintf("the VIP went to %s, want %s", o.Next, o.Wanted))
	}
	if !o.Moved {
		found = append(found, "the next holder did not announce itself")
	}
	if o.Fault.EndsIdle && (o.IdleNoticed == 0 || o.IdleDone == 0) {
		found = append(found, "an idle client did not find its way to the next holder")
	}
	return found
}

func (o Outcome) notStayed() []string {
	var found []string
	if o.Next != o.Holder {
		found = append(found, fmt.Sprintf("the VIP is on %q, want %s", o.Next, o.Holder))
	}
	if len(o.Answered) != 1 || o.Answered[o.Holder] == 0 {
		found = append(found, fmt.Sprintf("answers %v: want %s alone", o.Answered, o.Holder))
	}
	if o.Failed > 0 && !o.Fault.Flickers && !o.Fault.MayFail {
		found = append(found, fmt.Sprintf("%d requests failed, want none", o.Failed))
	}
	if o.Fault.Stranger != nil && o.StrangerAnswered == 0 {
		found = append(found, "the stranger was not heard of: nothing was tried")
	}
	for _, e := range o.History.Addresses {
		if e.At >= o.At && (e.Node != o.Holder || !o.Fault.Flickers) {
			found = append(found, fmt.Sprintf("the address moved: %+v", e))
		}
	}
	return found
}

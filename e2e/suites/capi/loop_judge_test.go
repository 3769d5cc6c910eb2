package capi_test

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vipd-io/vipd/e2e/capi"
	"github.com/vipd-io/vipd/e2e/judge/analyse"
	"github.com/vipd-io/vipd/e2e/judge/record"
)

// An expectation is what a step may do to the VIP.
type expectation struct {
	least, most int // moves
	// cause matches the cause of each move.
	cause *regexp.Regexp
	// costs is how long a move may keep clients from a connection, besides what this machine costs.
	costs time.Duration
	// drained: the VIP has moved before etcd's member of the former holder is removed and before that
	// machine is off.
	drained bool
}

const (
	// handedOver is the second after which the kernel of a client repeats a packet that was lost
	// while no node had the VIP, and a tenth for the move (docs/guarantees.md).
	handedOver = 1100 * time.Millisecond
	// ranOut is a lease of 3 s that was just renewed, half a second for the claim, and a packet that
	// is repeated after one second and the next two.
	ranOut = 4500 * time.Millisecond
	// unrenewed is why a holder leaves the VIP whose API servers accept no write: while etcd has no
	// quorum, there is no VIP (docs/guarantees.md). Each new member costs etcd its quorum for a moment if
	// there was one member only.
	unrenewed = ": the deadline passed"
	// stalls is how long API servers may answer nobody while etcd elects a leader, or while a machine
	// boots beside them: this is not up to the VIP.
	stalls = 10 * time.Second
)

var (
	cordoned = regexp.MustCompile(`^node \S+ is (cordoned|being deleted)$`)
	expired  = regexp.MustCompile(`^the lease of \S+ expired$`)

	stays     = expectation{costs: handedOver} // a packet may be lost on a busy machine, too
	drainsOne = expectation{least: 1, most: 1, cause: cordoned, costs: handedOver, drained: true}
	drainsTwo = expectation{least: 1, most: 2, cause: cordoned, costs: handedOver, drained: true}
	breaks    = expectation{least: 1, most: 1, cause: expired, costs: ranOut}
)

// gaps are the longest times without an answer.
type gaps struct{ arp, tcp, readyz time.Duration }

func (o observation) gaps() gaps {
	return gaps{analyse.Silence(o.vip.Answers, o.from, o.to), analyse.Outage(o.tcp.Requests, o.from, o.to), analyse.Outage(o.vip.Requests, o.from, o.to)}
}

func (g gaps) String() string {
	ms := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	return fmt.Sprintf("ARP %v, TCP %v, readyz %v", ms(g.arp), ms(g.tcp), ms(g.readyz))
}

// judge asserts what a step may do to the VIP.
func (l *loop) judge(t *testing.T, o observation, want expectation) {
	t.Helper()
	g := o.gaps()
	t.Logf("STEP %s: %.0f s; by ARP answered %q; lease %s to %s; longest without an answer: %s; failed: TCP %d of %d, readyz %d of %d", o.what, o.to.Sub(o.from).Seconds(),
		l.answering(o.vip.Answers), o.before, o.after, g, failed(o.tcp.Requests), len(o.tcp.Requests), failed(o.vip.Requests), len(o.vip.Requests))
	t.Logf("STEP %s: TCP: %s; readyz: %s", o.what, errorsOf(o.tcp.Requests), errorsOf(o.vip.Requests))
	for _, m := range o.moves() {
		t.Logf("STEP %s: move %+v", o.what, m)
	}
	for _, v := range analyse.Overlap(o.vip.Probes, o.vip.Answers, nil) {
		t.Errorf("%s: two nodes answer: %v", o.what, v)
	}
	costs := want.costs
	for _, cause := range o.withdrawals() {
		t.Logf("STEP %s: withdrawal by %s", o.what, cause)
		if !strings.HasSuffix(cause, unrenewed) {
			t.Errorf("%s: the VIP was withdrawn and not moved, by %s", o.what, cause)
		}
		costs = stalls // no API server accepted a write meanwhile
	}
	if over := g.tcp - l.idle.tcp; over > costs {
		t.Errorf("%s: no connection for %v, %v longer than when nothing happens; at most %v is expected", o.what, g.tcp, over, costs)
	}
	if over := g.readyz - l.idle.readyz; over > want.costs+stalls {
		t.Errorf("%s: readyz is not answered for %v, %v longer than when nothing happens", o.what, g.readyz, over)
	}
	l.judgeHolder(t, o)
	l.judgeMoves(t, o, want)
}

// judgeHolder: the holder of the Lease is the machine that answers.
func (l *loop) judgeHolder(t *testing.T, o observation) {
	t.Helper()
	names := l.answering(o.vip.Answers)
	if len(names) == 0 {
		t.Errorf("%s: nobody answered by ARP", o.what)
	} else if last := names[len(names)-1]; !slices.Contains(strings.Split(last, " or "), o.after.holder) {
		t.Errorf("%s: at the end %s answers, and the holder of the Lease is %s", o.what, last, o.after)
	}
}

// judgeMoves: each change of the holder is a move that the step causes.
func (l *loop) judgeMoves(t *testing.T, o observation, want expectation) {
	t.Helper()
	moves := o.moves()
	if n := len(moves); n < want.least || n > want.most {
		t.Errorf("%s: %d moves, want %d to %d", o.what, n, want.least, want.most)
	}
	if seen := len(l.answering(o.vip.Answers)) - 1; seen > len(moves) {
		t.Errorf("%s: %d moves by ARP, and %d in the Lease", o.what, seen, len(moves))
	}
	for _, m := range moves {
		if want.cause != nil && !want.cause.MatchString(m.cause()) {
			t.Errorf("%s: a move because %q, want %s", o.what, m.cause(), want.cause)
		}
		if want.drained {
			l.judgeDrain(t, o, m)
		}
	}
}

// judgeDrain: the VIP has moved before etcd loses the member of the former holder, and before that
// machine is off.
func (l *loop) judgeDrain(t *testing.T, o observation, m move) {
	t.Helper()
	from, to := l.guest(m.from), l.guest(m.to)
	if from == nil || to == nil {
		t.Errorf("%s: a move from %q to %q: which machines are these?", o.what, m.from, m.to)
		return
	}
	answers, found := firstAnswer(o.vip.Answers, to.Machine().MAC.String(), m.at.Add(-time.Second))
	if !found {
		t.Errorf("%s: %s took the VIP, and did not answer by ARP", o.what, m.to)
		return
	}
	removed, found, err := l.removedFromEtcd(from)
	if err != nil || !found {
		t.Errorf("%s: no member of etcd is told to have removed %s: %v", o.what, m.from, err)
	} else if removed < answers {
		t.Errorf("%s: etcd's member of %s was removed %v before %s answered for the VIP", o.what, m.from, answers.Sub(removed), m.to)
	}
	if on := from.LastOn(); on < answers {
		t.Errorf("%s: %s answered for the VIP %v after %s was last seen on", o.what, m.to, answers.Sub(on), m.from)
	}
	t.Logf("STEP %s: %s answers; %v later etcd's member of %s is removed, and %v later that machine is still on", o.what, m.to,
		removed.Sub(answers).Round(time.Millisecond), m.from, from.LastOn().Sub(answers).Round(time.Millisecond))
}

// firstAnswer returns when a machine first answered, from a time on.
func firstAnswer(answers []record.Answer, mac string, since record.Time) (at record.Time, found bool) {
	for _, a := range answers {
		if a.MAC == mac && a.At >= since && (!found || a.At < at) {
			at, found = a.At, true
		}
	}
	return at, found
}

// guest returns the machine of a name, nil if there was none.
func (l *loop) guest(name string) *capi.Guest {
	all := l.hypervisor.All()
	i := slices.IndexFunc(all, func(g *capi.Guest) bool { return g.VM.Name == name && g.Machine() != nil })
	if i < 0 {
		return nil
	}
	return all[i]
}

// answering returns the machines that answered by ARP, in the order of their answers: each change is a
// move. Two machines that answer at the same time change again and again.
func (l *loop) answering(answers []record.Answer) (names []string) {
	byMAC := make(map[string]string)
	for _, g := range l.hypervisor.All() {
		if m := g.Machine(); m != nil { // a machine may get the address, and so the MAC, of one that is gone
			byMAC[m.MAC.String()] = strings.TrimPrefix(byMAC[m.MAC.String()]+" or "+g.VM.Name, " or ")
		}
	}
	for _, a := range slices.SortedStableFunc(slices.Values(answers), func(a, b record.Answer) int { return cmp.Compare(a.At, b.At) }) {
		name := cmp.Or(byMAC[a.MAC], a.MAC)
		if len(names) == 0 || names[len(names)-1] != name {
			names = append(names, name)
		}
	}
	return names
}

// errorsOf counts the errors of requests.
func errorsOf(requests []record.Request) string {
	count := make(map[string]int)
	for _, r := range requests {
		if !r.OK() {
			count[r.Err]++
		}
	}
	var all []string
	for text, n := range count {
		all = append(all, fmt.Sprintf("%d times %s", n, text))
	}
	slices.Sort(all)
	return cmp.Or(strings.Join(all, "; "), "no error")
}

func failed(requests []record.Request) (n int) {
	for _, r := range requests {
		if !r.OK() {
			n++
		}
	}
	return n
}

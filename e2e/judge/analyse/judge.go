package analyse

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
)

// A Rule is a rule that an episode has to keep.
type Rule string

// The rules. All of them hold in every run, on any machine.
const (
	AtMostOne    Rule = "at most one node answers"
	AcceptsAlone Rule = "at most one node accepts packets"
	InTime       Rule = "no node answers after its deadline"
	AfterClaim   Rule = "no node answers after another node's claim"
	Announces    Rule = "only the holder announces"
	Serves       Rule = "only the holder serves requests"
	Terms        Rule = "each holder has a higher term"
	Causes       Rule = "each change of holder has a cause"
	Goes         Rule = "the VIP moves as expected"
	Stays        Rule = "the VIP does not move or flicker without a reason"
	Answered     Rule = "a node answers without a long gap"
	Reachable    Rule = "the VIP is reachable in time"
	Respects     Rule = "the lease of another holder is respected"
	Converges    Rule = "neighbours learn the holder in time"
	Foreign      Rule = "foreign state is unchanged"
	Damped       Rule = "repairs are damped"
	Leaves       Rule = "the address is removed in time"
	PutRight     Rule = "a damaged Lease is repaired"
)

// Rules are all rules.
var Rules = []Rule{AtMostOne, AcceptsAlone, InTime, AfterClaim, Announces, Serves, Terms, Causes, Goes, Stays, Answered, Reachable, Respects, Converges,
	Foreign, Damped, PutRight, Leaves}

// A Violation is evidence that a rule was broken.
type Violation struct {
	Rule Rule        `json:"rule"`
	At   record.Time `json:"at"`
	Why  string      `json:"why"`
	Seq  uint32      `json:"seq,omitempty"` // of the probe, if there is one
}

func (v Violation) String() string { return fmt.Sprintf("%v %s: %s", v.At, v.Rule, v.Why) }

// A Verdict is what the record of an episode proves.
type Verdict struct {
	// Violations are the broken rules. They are certain despite gaps.
	Violations []Violation `json:"violations,omitempty"`
	// Gaps are the times that were not observed and may hide a broken rule.
	Gaps []Gap `json:"gaps,omitempty"`
	// Unproven is why the record does not prove that the rules were kept, "" if it does.
	Unproven string `json:"unproven,omitempty"`
}

// OK tells whether the record proves that no rule was broken, as far as was observed.
func (v Verdict) OK() bool { return len(v.Violations) == 0 && v.Unproven == "" }

// Judge checks an episode against the rules. The error means that the record is inconsistent.
func Judge(e record.Episode) (Verdict, error) {
	if err := checkConsistent(e.History); err != nil {
		return Verdict{}, err
	}
	from, to := span(e)
	gaps := Unobserved(e.History, from, to)
	return Verdict{
		Violations: broken(e, gaps), Gaps: gaps,
		Unproven: cmp.Or(insufficient(e.History, gaps, e.At, e.End), missedChange(e, gaps)),
	}, nil
}

func broken(e record.Episode, gaps []Gap) []Violation {
	m := Measure(e)
	violations := slices.Concat(m.Twice, unknownMachines(e), acceptsAlone(e), inTime(e), afterClaim(e), announces(e), serves(e), terms(e), causes(e, gaps), damped(e), leaves(e),
		converges(e), foreign(e))
	if e.Stuck != "" {
		violations = append(violations, Violation{Rule: Goes, At: e.At, Why: e.Stuck})
	}
	switch {
	case e.Promise.Moves:
		violations = append(violations, moved(e, m)...)
	case e.Promise.MayMove:
		violations = append(violations, onOneNode(e)...)
	default:
		violations = append(violations, stayed(e, m, gaps)...)
	}
	return slices.Concat(violations, answered(e, gaps), reachable(e, m, gaps))
}

// moved checks a VIP that has to move.
func moved(e record.Episode, m Measures) (found []Violation) {
	goes := func(format string, args ...any) {
		found = append(found, Violation{Rule: Goes, At: e.At, Why: fmt.Sprintf(format, args...)})
	}
	if e.Next == e.Holder || e.Next == "" {
		goes("the VIP is on %q, want another node than %s", e.Next, e.Holder)
	}
	if e.Wanted != "" && e.Next != e.Wanted {
		goes("the VIP went to %s, want %s", e.Next, e.Wanted)
	}
	if !m.Moved {
		goes("the next holder did not announce itself")
	}
	if e.Promise.EndsIdle && (m.IdleNoticed == 0 || m.IdleDone == 0) {
		goes("an idle client did not find its way to the next holder")
	}
	return found
}

// onOneNode checks a VIP that may be on any one node.
func onOneNode(e record.Episode) []Violation {
	if e.Next != "" && !strings.Contains(e.Next, " ") {
		return nil
	}
	return []Violation{{Rule: Goes, At: e.End, Why: fmt.Sprintf("the VIP is on %q, want one node", e.Next)}}
}

// stayed checks a VIP that has to stay.
func stayed(e record.Episode, m Measures, gaps []Gap) (found []Violation) {
	stays := func(format string, args ...any) {
		found = append(found, Violation{Rule: Stays, At: e.At, Why: fmt.Sprintf(format, args...)})
	}
	if e.Next != e.Holder {
		stays("the VIP is on %q, want %s", e.Next, e.Holder)
	}
	if len(m.Answered) != 1 || m.Answered[e.Holder] == 0 {
		stays("answers %v: want %s alone", m.Answered, e.Holder)
	}
	if n := failed(e, gaps); n > 0 && !e.Promise.Flickers && !e.Promise.MayFail {
		stays("%d requests failed, want none", n)
	}
	if len(e.Cluster.Strangers) > 0 && m.StrangerAnswered == 0 {
		stays("the stranger was not heard: nothing was tested")
	}
	for _, a := range e.History.Addresses {
		if inside(e, a.At) && (a.Node != e.Holder || !e.Promise.Flickers) {
			stays("the address moved: %s added=%t at %v", a.Node, a.Added, a.At)
		}
	}
	return append(found, putRight(e)...)
}

// failed counts the requests that failed during the fault while all observers worked: a stall of
// the machine may cause a failure, and is reported as a gap.
func failed(e record.Episode, gaps []Gap) (n int) {
	for _, r := range e.History.Requests {
		stalled := slices.ContainsFunc(gaps, func(g Gap) bool { return r.Start < g.To && g.From < r.End })
		if inside(e, r.Start) && !r.OK() && !stalled {
			n++
		}
	}
	return n
}

// reachable compares the outage with the limits of the fault. Time without requests counts neither
// for the minimum nor for the maximum.
func reachable(e record.Episode, m Measures, gaps []Gap) []Violation {
	within, least := lengthened(e, e.Promise.Within), e.Promise.AtLeast
	surely := outage(e.History.Requests, e.At, e.End, func(from, to record.Time) time.Duration { return unobservedIn(gaps, from, to, byARP, byKnocks) })
	switch {
	case within > 0 && surely > within:
		return []Violation{{Rule: Reachable, At: e.At, Why: fmt.Sprintf("unreachable for %v, want at most %v", surely, within)}}
	case m.Unreachable < least:
		return []Violation{{Rule: Respects, At: e.At, Why: fmt.Sprintf("unreachable for %v, want at least %v", m.Unreachable, least)}}
	}
	return nil
}

const (
	// configured is the lease duration of the lab's vipds.
	configured = 3 * time.Second
	// waitsOut is the smallest limit of a fault in which the others wait for the lease.
	waitsOut = configured + time.Second
)

// lengthened returns a limit, extended if the others have to wait for a lease that its holder had
// made longer than configured because of slow renewals. A version that was followed by another one
// before the fault does not count.
func lengthened(e record.Episode, bound time.Duration) time.Duration {
	if bound < waitsOut {
		return bound
	}
	most, list := configured, Versions(e.History.Leases)
	for i, v := range list {
		followed := i+1 < len(list) && list[i+1].At <= e.At
		if v.Lengthened && v.At <= e.End && !followed {
			most = max(most, time.Duration(v.Seconds)*time.Second)
		}
	}
	return bound + most - configured
}

// repairs bounds how often a node may add the address during a fault: five times a second during a
// fight of five seconds, and with each renewal.
const repairs = 40

// damped counts how often each node added the address.
func damped(e record.Episode) (found []Violation) {
	count := make(map[string]int)
	for _, a := range e.History.Addresses {
		if !a.Added || !inside(e, a.At) {
			continue
		}
		if count[a.Node]++; count[a.Node] == repairs+1 {
			found = append(found, Violation{Rule: Damped, At: a.At, Why: fmt.Sprintf("%s added the address more than %d times", a.Node, repairs)})
		}
	}
	return found
}

// foreign compares the foreign state of each node.
func foreign(e record.Episode) (found []Violation) {
	for node, before := range e.Before {
		after := e.After[node]
		if before == after {
			continue
		}
		var changes []string
		had := strings.Split(before, "\n")
		has := strings.Split(after, "\n")
		for _, l := range had {
			if !slices.Contains(has, l) {
				changes = append(changes, "- "+l)
			}
		}
		for _, l := range has {
			if !slices.Contains(had, l) {
				changes = append(changes, "+ "+l)
			}
		}
		found = append(found, Violation{Rule: Foreign, At: e.End, Why: node + " has changed:\n" + strings.Join(changes, "\n")})
	}
	return found
}

// inside tells whether the time belongs to the fault, and not to its healing.
func inside(e record.Episode, at record.Time) bool { return at >= e.At && at <= e.End }

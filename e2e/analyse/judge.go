package analyse

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vipd-io/vipd/e2e/record"
)

// A Rule is what an episode is judged by.
type Rule string

// The rules. All of them hold in every run, whatever the machine is like.
const (
	AtMostOne  Rule = "at most one answers"
	InTime     Rule = "answers before its deadline only"
	AfterClaim Rule = "silent once another claims"
	Terms      Rule = "each holder has a higher term"
	Causes     Rule = "each change of holder has a cause"
	Goes       Rule = "goes where it is to go"
	Stays      Rule = "stays if nothing is wrong"
	Reachable  Rule = "reachable again in time"
	Respects   Rule = "another one's lease is respected"
	Converges  Rule = "neighbours know the holder in time"
	Foreign    Rule = "foreign state is left alone"
	Damped     Rule = "repairs are damped"
	Leaves     Rule = "the address leaves in time"
	PutRight   Rule = "a damaged Lease is put right"
)

// Rules are all of them.
var Rules = []Rule{AtMostOne, InTime, AfterClaim, Terms, Causes, Goes, Stays, Reachable, Respects, Converges, Foreign, Damped, PutRight, Leaves}

// A Violation is evidence that a rule was broken.
type Violation struct {
	Rule Rule        `json:"rule"`
	At   record.Time `json:"at"`
	Why  string      `json:"why"`
	Seq  uint32      `json:"seq,omitempty"` // the probe's, if it is about one
}

func (v Violation) String() string { return fmt.Sprintf("%v %s: %s", v.At, v.Rule, v.Why) }

// Judge returns where an episode breaks rules. The error is that the record is
// too thin to tell.
func Judge(e record.Episode) ([]Violation, error) {
	if err := Enough(e.History, e.At, e.End); err != nil {
		return nil, err
	}
	m := Measure(e)
	violations := slices.Concat(m.Twice, inTime(e), afterClaim(e), terms(e), causes(e), damped(e), leaves(e), converges(e), foreign(e))
	if e.Stuck != "" {
		violations = append(violations, Violation{Rule: Goes, At: e.At, Why: e.Stuck})
	}
	switch {
	case e.Promise.Moves:
		violations = append(violations, moved(e, m)...)
	case e.Promise.MayMove:
		violations = append(violations, somewhere(e)...)
	default:
		violations = append(violations, stayed(e, m)...)
	}
	return append(violations, reachable(e, m)...), nil
}

// moved is a VIP that is to be elsewhere.
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

// somewhere is a VIP that may be on any one node.
func somewhere(e record.Episode) []Violation {
	if e.Next != "" && !strings.Contains(e.Next, " ") {
		return nil
	}
	return []Violation{{Rule: Goes, At: e.End, Why: fmt.Sprintf("the VIP is on %q, want one node", e.Next)}}
}

// stayed is a VIP that is to be where it was.
func stayed(e record.Episode, m Measures) (found []Violation) {
	stays := func(format string, args ...any) {
		found = append(found, Violation{Rule: Stays, At: e.At, Why: fmt.Sprintf(format, args...)})
	}
	if e.Next != e.Holder {
		stays("the VIP is on %q, want %s", e.Next, e.Holder)
	}
	if len(m.Answered) != 1 || m.Answered[e.Holder] == 0 {
		stays("answers %v: want %s alone", m.Answered, e.Holder)
	}
	if m.Failed > 0 && !e.Promise.Flickers && !e.Promise.MayFail {
		stays("%d requests failed, want none", m.Failed)
	}
	if len(e.Cluster.Strangers) > 0 && m.StrangerAnswered == 0 {
		stays("the stranger was not heard of: nothing was tried")
	}
	for _, a := range e.History.Addresses {
		if inside(e, a.At) && (a.Node != e.Holder || !e.Promise.Flickers) {
			stays("the address moved: %s added=%t at %v", a.Node, a.Added, a.At)
		}
	}
	return append(found, putRight(e)...)
}

// reachable compares with what the fault allows.
func reachable(e record.Episode, m Measures) []Violation {
	within, least := e.Promise.Within, e.Promise.AtLeast
	switch {
	case within > 0 && m.Unreachable > within:
		return []Violation{{Rule: Reachable, At: e.At, Why: fmt.Sprintf("unreachable for %v, want at most %v", m.Unreachable, within)}}
	case m.Unreachable < least:
		return []Violation{{Rule: Respects, At: e.At, Why: fmt.Sprintf("unreachable for %v, want at least %v", m.Unreachable, least)}}
	}
	return nil
}

// repairs are how often a node may put the address up during a fault: five times a
// second for the five seconds of a fight, and with each renewal.
const repairs = 40

// damped counts how often the address was put up.
func damped(e record.Episode) (found []Violation) {
	count := make(map[string]int)
	for _, a := range e.History.Addresses {
		if !a.Added || !inside(e, a.At) {
			continue
		}
		if count[a.Node]++; count[a.Node] == repairs+1 {
			found = append(found, Violation{Rule: Damped, At: a.At, Why: fmt.Sprintf("%s put the address up more than %d times", a.Node, repairs)})
		}
	}
	return found
}

// foreign compares each node's foreign state.
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
		found = append(found, Violation{Rule: Foreign, At: e.End, Why: node + " is not as before:\n" + strings.Join(changes, "\n")})
	}
	return found
}

// inside tells whether the time belongs to the fault, and not to its healing.
func inside(e record.Episode, at record.Time) bool { return at >= e.At && at <= e.End }

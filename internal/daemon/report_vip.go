package daemon

import (
	"fmt"
	"slices"
	"time"

	"github.com/vipd-io/vipd/internal/status"
	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/vip"
)

// conflict is an entry in the history about a claim of another machine.
type conflict struct {
	mac string
	at  boottime.Instant
}

// conflictPause is the minimum time between two entries for one machine, and maxConflicts bounds
// the entries in that time: repeated claims, and claims from many MACs, must not fill the history.
const (
	conflictPause = time.Minute
	maxConflicts  = 5
)

// campaignChanged records whether this node is a candidate.
func (r *reporter) campaignChanged(c vip.Campaign) {
	r.board.Update(func(f *status.Facts) { f.Candidate = c.Eligible })
}

// managerReported records the state and the actions of the Manager.
func (r *reporter) managerReported(n vip.Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := n.State
	changed, claims := s.Phase != r.phase, s.Rival.Claims-r.claims
	if s.Phase != vip.Holding {
		claims = 0 // a standby hears the claims of the holder
	}
	r.board.Update(func(f *status.Facts) {
		if changed {
			f.State, f.Since = s.Phase.String(), n.At
		}
		if s.Cause != "" {
			f.Cause = s.Cause
		}
		f.Present, f.Own, f.Until = s.Present != vip.Absent || s.Removable, s.Own, n.Until
		f.Interface = status.Interface{Name: s.Places.First().Name, MAC: s.Places.First().MAC, Up: s.Places.Up(), Reason: s.Places.First().Why}
		if claims > 0 {
			f.Conflicts = status.ConflictFacts{Count: f.Conflicts.Count + claims, MAC: s.Rival.MAC, Last: n.At}
		}
	})
	for range claims {
		r.metrics.Conflict()
	}
	if claims > 0 {
		r.claimed(n)
	}
	r.phase, r.claims = s.Phase, s.Rival.Claims
	r.recordOperations(n)
}

// recordOperations adds the Manager's actions to the history.
func (r *reporter) recordOperations(n vip.Report) {
	if i := slices.IndexFunc(n.Operations, is(vip.Repaired)); i >= 0 {
		r.repaired(n, n.Operations[i].Detail)
	} else if slices.ContainsFunc(n.Operations, is(vip.Announced)) {
		r.taken(n)
	}
	if i := slices.IndexFunc(n.Operations, is(vip.Refused)); i >= 0 {
		r.board.Add(status.Change{Time: r.board.At(n.At), Kind: status.Refused, Holder: r.node, Term: n.State.Grant.Term, Cause: n.Operations[i].Detail})
	}
	switch {
	case n.State.Phase == vip.Withdrawing:
		r.cause, r.leaving = n.State.Cause, append(r.leaving, n.Operations...)
	case r.leaving != nil:
		r.leaving = append(r.leaving, n.Operations...)
		r.left(n)
		r.leaving = nil
	}
}

func is(kind vip.OperationKind) func(vip.Operation) bool {
	return func(d vip.Operation) bool { return d.Kind == kind }
}

// taken records that this node holds the VIP.
func (r *reporter) taken(n vip.Report) {
	c := r.claim
	steps := []status.Step{
		{What: lastSeen(c), At: c.Seen}, {What: "lease free", At: c.Free}, {What: "claim sent", At: c.Sent}, {What: "claim written", At: c.Written}}
	announced := n.At
	for _, d := range n.Operations {
		steps = append(steps, status.Step{What: string(d.Kind), At: d.At})
		if d.Kind == vip.Announced {
			announced = d.At
		}
	}
	took := announced.Sub(c.Seen)
	r.metrics.Failover(causes[c.Replaced], took)
	r.board.Add(status.Change{Time: r.board.At(announced), Kind: status.Taken, Holder: r.node, Term: n.State.Grant.Term, Cause: n.State.Cause,
		Seconds: took.Seconds(), Phases: r.board.Steps(steps...)})
	r.say(false, "VIPTaken", fmt.Sprintf("%s holds the VIP, term %d, %s: %s", r.node, n.State.Grant.Term, took.Round(time.Millisecond), n.State.Cause))
}

// causes maps the verdict on the claimed record to the label `cause` of a metric.
var causes = map[string]string{
	"absent": "vacant", "vacant": "vacant", "unheld": "vacant", "released": "released", "mine": "restarted",
	"rebooted": "rebooted", "namesake": "expired", "foreign": "expired",
}

// lastSeen names the record that was claimed.
func lastSeen(c election.Claim) string {
	switch c.Replaced {
	case "released":
		return "release seen"
	case "absent", "vacant", "unheld":
		return "seen without a holder"
	case "mine", "rebooted":
		return "own lease found"
	default:
		return "last renewal seen"
	}
}

func (r *reporter) repaired(n vip.Report, what string) {
	var steps []status.Step
	for _, d := range n.Operations {
		steps = append(steps, status.Step{What: string(d.Kind), At: d.At})
	}
	r.metrics.Repair()
	r.board.Update(func(f *status.Facts) { f.Repairs++ })
	r.board.Add(status.Change{Time: r.board.At(n.At), Kind: status.Repaired, Holder: r.node, Term: n.State.Grant.Term, Cause: what, Phases: r.board.Steps(steps...)})
	r.say(true, "VIPRepaired", what+": repaired on "+r.node)
}

// left records the end of a holding.
func (r *reporter) left(n vip.Report) {
	steps := make([]status.Step, 0, len(r.leaving))
	for _, d := range r.leaving {
		steps = append(steps, status.Step{What: string(d.Kind), At: d.At})
	}
	var took time.Duration
	if len(steps) > 1 {
		took = steps[len(steps)-1].At.Sub(steps[0].At)
	}
	holder := n.State.Grant.Holder
	released := slices.ContainsFunc(r.leaving, is(vip.Released))
	if released {
		holder = ""
	}
	r.board.Add(status.Change{Time: r.board.At(n.At), Kind: status.Left, Holder: holder, Term: n.State.Grant.Term, Cause: r.cause,
		Seconds: took.Seconds(), Phases: r.board.Steps(steps...)})
	if released {
		r.say(false, "VIPReleased", r.node+" released the VIP: "+r.cause)
	} else {
		r.say(true, "VIPLost", r.node+" no longer holds the VIP: "+r.cause)
	}
}

// claimed adds a claim of another machine to the history, within the limits above.
func (r *reporter) claimed(n vip.Report) {
	mac := n.State.Rival.MAC
	r.conflicts = slices.DeleteFunc(r.conflicts, func(c conflict) bool { return n.At.Sub(c.at) >= conflictPause })
	if len(r.conflicts) == maxConflicts || slices.ContainsFunc(r.conflicts, func(c conflict) bool { return c.mac == mac }) {
		return
	}
	r.conflicts = append(r.conflicts, conflict{mac, n.At})
	r.board.Add(status.Change{Time: r.board.At(n.At), Kind: status.Conflict, Holder: n.State.Grant.Holder, Term: n.State.Grant.Term,
		Cause: "another machine claims the VIP, at " + mac})
	r.say(true, "VIPConflict", fmt.Sprintf("%s claims the VIP, which %s holds: find that machine and remove the address there", mac, r.node))
}

// announced records the result of a round of announcements.
func (r *reporter) announced(err error) {
	now := boottime.Now()
	r.metrics.Announced(err)
	r.board.Update(func(f *status.Facts) {
		if err != nil {
			f.Announcements.Failed, f.Announcements.Error = f.Announcements.Failed+1, err.Error()
			return
		}
		f.Announcements.Sent, f.Announcements.Last, f.Announcements.Error = f.Announcements.Sent+1, now, ""
	})
}

package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/status"
	"github.com/vipd-io/vipd/pkg/vip"
)

// conflict is the last one in the history.
type conflict struct {
	mac string
	at  boottime.Instant
}

// conflictPause keeps a machine that goes on claiming from filling the history.
const conflictPause = time.Minute

// campaigns tells whether this node would take the address.
func (r *reporter) campaigns(c vip.Campaign) {
	r.board.Tell(func(f *status.Facts) { f.Candidate = c.Eligible })
}

// managed takes in what the Manager did.
func (r *reporter) managed(n vip.News) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := n.State
	changed, claims := s.Phase != r.phase, s.Rival.Claims-r.claims
	if s.Phase != vip.Holding {
		claims = 0 // a standby hears the holder
	}
	r.board.Tell(func(f *status.Facts) {
		if changed {
			f.State, f.Since = s.Phase.String(), n.At
		}
		if s.Cause != "" {
			f.Cause = s.Cause
		}
		f.Present, f.Until = s.Ours || s.Stray, n.Until
		f.Interface = status.Interface{Name: s.Link.Name, MAC: s.Link.MAC, Up: s.Link.Up}
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
	r.deeds(n)
}

// deeds makes changes of what was done.
func (r *reporter) deeds(n vip.News) {
	if i := slices.IndexFunc(n.Deeds, is(vip.Repaired)); i >= 0 {
		r.repaired(n, n.Deeds[i].Detail)
	} else if slices.ContainsFunc(n.Deeds, is(vip.Announced)) {
		r.taken(n)
	}
	if i := slices.IndexFunc(n.Deeds, is(vip.Refused)); i >= 0 {
		r.board.Add(status.Change{Time: r.board.At(n.At), Kind: status.Refused, Holder: r.node, Term: n.State.Grant.Term, Cause: n.Deeds[i].Detail})
	}
	switch {
	case n.State.Phase == vip.Withdrawing:
		r.cause, r.leaving = n.State.Cause, append(r.leaving, n.Deeds...)
	case r.leaving != nil:
		r.leaving = append(r.leaving, n.Deeds...)
		r.left(n)
		r.leaving = nil
	}
}

func is(what vip.What) func(vip.Deed) bool { return func(d vip.Deed) bool { return d.What == what } }

// taken: this node holds the address from now on.
func (r *reporter) taken(n vip.News) {
	c := r.claim
	steps := []status.Step{
		{What: lastSeen(c), At: c.Seen}, {What: "lease free", At: c.Free}, {What: "claim sent", At: c.Sent}, {What: "claim written", At: c.Written}}
	announced := n.At
	for _, d := range n.Deeds {
		steps = append(steps, status.Step{What: string(d.What), At: d.At})
		if d.What == vip.Announced {
			announced = d.At
		}
	}
	took := announced.Sub(c.Seen)
	r.metrics.Failover(causes[c.Over], took)
	r.board.Add(status.Change{Time: r.board.At(announced), Kind: status.Taken, Holder: r.node, Term: n.State.Grant.Term, Cause: n.State.Cause,
		Seconds: took.Seconds(), Phases: r.board.Steps(steps...)})
	r.say(false, "VIPTaken", fmt.Sprintf("%s holds the VIP, term %d, %s: %s", r.node, n.State.Grant.Term, took.Round(time.Millisecond), n.State.Cause))
}

// causes are why a node takes the address, as a metric's label, by what the claim
// was over.
var causes = map[string]string{
	"absent": "vacant", "vacant": "vacant", "released": "released", "mine": "restarted",
	"rebooted": "rebooted", "namesake": "expired", "foreign": "expired",
}

// lastSeen names the record that a claim was over.
func lastSeen(c election.Claim) string {
	switch c.Over {
	case "released":
		return "release seen"
	case "absent", "vacant":
		return "seen without a holder"
	case "mine", "rebooted":
		return "own lease found"
	default:
		return "last renewal seen"
	}
}

func (r *reporter) repaired(n vip.News, what string) {
	var steps []status.Step
	for _, d := range n.Deeds {
		steps = append(steps, status.Step{What: string(d.What), At: d.At})
	}
	r.metrics.Repair()
	r.board.Tell(func(f *status.Facts) { f.Repairs++ })
	r.board.Add(status.Change{Time: r.board.At(n.At), Kind: status.Repaired, Holder: r.node, Term: n.State.Grant.Term, Cause: what, Phases: r.board.Steps(steps...)})
	r.say(true, "VIPRepaired", what+": put right on "+r.node)
}

// left: what this node had of the address is gone.
func (r *reporter) left(n vip.News) {
	steps := make([]status.Step, 0, len(r.leaving))
	for _, d := range r.leaving {
		steps = append(steps, status.Step{What: string(d.What), At: d.At})
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
		r.say(false, "VIPReleased", r.node+" gave the VIP away: "+r.cause)
	} else {
		r.say(true, "VIPLost", r.node+" holds the VIP no more: "+r.cause)
	}
}

// claimed notes that another machine claims the address: once a minute, or when it
// is another machine.
func (r *reporter) claimed(n vip.News) {
	mac := n.State.Rival.MAC
	if mac == r.conflict.mac && n.At.Sub(r.conflict.at) < conflictPause {
		return
	}
	r.conflict = conflict{mac, n.At}
	r.board.Add(status.Change{Time: r.board.At(n.At), Kind: status.Conflict, Holder: n.State.Grant.Holder, Term: n.State.Grant.Term,
		Cause: "another machine claims the VIP, at " + mac})
	r.say(true, "VIPConflict", fmt.Sprintf("%s claims the VIP, which %s holds: find that machine and take the address away there", mac, r.node))
}

// announced takes in what came of a round of announcements.
func (r *reporter) announced(err error) {
	now := boottime.Now()
	r.metrics.Announced(err)
	r.board.Tell(func(f *status.Facts) {
		if err != nil {
			f.Announcements.Failed, f.Announcements.Error = f.Announcements.Failed+1, err.Error()
			return
		}
		f.Announcements.Sent, f.Announcements.Last, f.Announcements.Error = f.Announcements.Sent+1, now, ""
	})
}

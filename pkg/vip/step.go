package vip

import (
	"errors"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Delays of step.
const (
	// linkDownTimeout is how long a holder waits for its link to come up again before it hands the
	// addresses over.
	linkDownTimeout = time.Second
	// withdrawRetry is the pause between attempts to remove the addresses.
	withdrawRetry = 50 * time.Millisecond
	// serveRetry is how long a node does not ask for the addresses after it failed to add them.
	serveRetry = 5 * time.Second
)

// step computes the next state and the actions for an event at an instant. step does no I/O and
// reads no clock. The tests check these guarantees from any state:
//
//   - no Raise, Extend or Refresh without a grant whose deadline is in the future, and no Raise or
//     Refresh without a link
//   - no grant is asked for, no holding begins, and none ends before Stop or the end of the grant,
//     while one of the addresses is an address of this node itself
//   - a grant that is lost or over leads to Withdraw in the same step
//   - GiveBack only after a Withdrawn without an error, with no Raise in between: the addresses
//     are gone, or closed off in two independent ways (Withdrawn.Diverted)
//   - no Raise after Stop, or after the Withdraw that follows End
//   - End ends no holding for as long as other nodes are known, before one of them accepts
func step(s State, now boottime.Instant, e Event) (State, []Action) {
	switch e := e.(type) {
	case Granted:
		renewed := s.Phase == Holding && e.Grant.Held && now < e.Grant.Until
		// Lost and won again, and only the newest grant was passed on: another node may have
		// announced itself in between.
		other := e.Grant.Term != s.Grant.Term
		unknown := !s.Grant.Known
		s.Grant = e.Grant
		if other && e.Grant.Held && e.Grant.Reported {
			s.Reports = s.Reports.moved(now)
		}
		switch {
		case s.held():
			s.Rival.Answered = 0 // the holder answered the probes
		case s.contested() && unknown:
			s.Rival.Answered = now // the machine may have been the holder until now
		}
		if renewed && !s.Places.found() {
			return reconcile(s, now) // repair with this grant once there is a link again
		}
		if renewed {
			prolong := Action(Extend{Grant: s.Grant})
			if other {
				prolong = Raise{Grant: s.Grant, Places: s.Places}
			}
			s, actions := answerClaims(s, now) // the grant may be the answer to a claim
			return s, append([]Action{prolong}, actions...)
		}
	case Observation:
		s = observed(s, now, e)
	case Serving:
		s.Serving = e
		if why, _ := e.unwilling(); why == "" {
			s.Stays, s.LeaveAt = 0, 0
		}
	case MoveRequest:
		return moveRequested(s, now, e.To)
	case Unreached:
		return reported(s, now, e)
	case ForeignClaim:
		return foreignClaimed(s, now, e)
	case Inquired:
		return inquired(s, now, e)
	case Raised:
		return raised(s, now, e)
	case Extended:
		return extended(s, e), s.refresh(e)
	case Refreshed:
		return refreshed(s, e), nil
	case Withdrawn:
		return withdrawn(s, now, e)
	case Stop:
		return stop(s, now)
	case End:
		return ended(s, now)
	case Accepted:
		return accepted(s, now, e.By)
	}
	return reconcile(s, now)
}

// observed takes over the observed state. Another link, or a removed address, has to be repaired by a
// holder.
func observed(s State, now boottime.Instant, e Observation) State {
	e.Places = e.Places.keepMACs(s.Places)
	if what := s.broken(e); what != "" && s.Phase == Holding {
		s.Broken = what
	}
	s.Places, s.Present, s.Removable, s.Clean, s.Unfenced = e.Places, e.Present, e.Removable, !e.Marked, e.Unfenced
	s.Own, s.OnLocal = e.Own, e.OnLocal
	switch {
	case e.Places.Up():
		s.DownSince = 0
	case s.DownSince == 0:
		s.DownSince = now
	}
	return s
}

// reconcile derives actions from the levels: grant, link, addresses, time.
func reconcile(s State, now boottime.Instant) (State, []Action) {
	switch s.Phase {
	case Holding:
		return reconcileHolding(s, now)
	case Withdrawing:
		if now >= s.WithdrawAt {
			return s, []Action{Withdraw{Gently: s.GiveBack}}
		}
		return s, nil
	default:
		return reconcileStandby(s, now)
	}
}

func reconcileHolding(s State, now boottime.Instant) (State, []Action) {
	if s.Repairs.over(now) {
		s.Repairs = RepairSeries{}
	}
	why, to := s.Serving.handOverTarget()
	switch {
	case !s.Grant.Held:
		return withdraw(s, s.Grant.Why)
	case now >= s.Grant.Until:
		return withdraw(s, "the deadline passed")
	case !s.keeps() && s.DownSince != 0 && now >= s.DownSince.Add(linkDownTimeout):
		return handOver(s, "the interface cannot serve: "+s.Places.why(), s.Serving.successor())
	case !s.keeps() && to != "" && now >= s.LeaveAt:
		return handOver(s, why, to)
	case s.Ending && !s.worthWaiting(now):
		return handOver(s, "stopping", s.Serving.successor())
	case s.Broken != "" && s.Places.Up() && now >= s.RepairAt:
		return repair(s, now)
	}
	s, actions := answerClaims(s, now)
	return s, append(actions, s.campaign(now))
}

func reconcileStandby(s State, now boottime.Instant) (State, []Action) {
	g := s.Grant
	switch {
	case s.Stopping:
		return s, nil
	case g.Held && now < g.Until && s.Places.Up() && s.Own == "" && now >= s.ServeAt:
		return serve(s, now)
	case s.Ending && !g.Pledged && (!g.Held || now >= g.Until):
		return stop(s, now)
	case g.Held && now < g.Until && s.Own != "":
		return handOver(s, "granted, but the VIP is an address of this node itself: "+s.Own, s.Serving.successor())
	case g.Held && now < g.Until:
		return handOver(s, "granted, but the interface cannot serve: "+s.Places.why(), s.Serving.successor())
	case (s.Present != Absent || s.Removable) && g.Known && !g.Held && g.Holder != "" && g.Holder != s.Node:
		return withdraw(s, "address left on this node while "+g.Holder+" holds the lease")
	}
	s, actions := probe(s, now)
	s, inquiry := inquire(s, now)
	return s, append(append(actions, inquiry...), s.campaign(now))
}

// serve begins the holding. An unwilling node claimed because no other node did; such a node does
// not hand over at once.
func serve(s State, now boottime.Instant) (State, []Action) {
	s.Phase, s.Cause, s.Broken, s.Repairs = Holding, s.Grant.Why, "", RepairSeries{}
	s.Rival.At = 0
	s.Reports.By, s.Reports.At = "", 0
	if why, _ := s.Serving.unwilling(); why != "" {
		s.LeaveAt = now.Add(stay << min(s.Stays, maxStays))
		s.Stays++
	}
	actions := []Action{Raise{Grant: s.Grant, Places: s.Places}, s.campaign(now)}
	if s.Ending {
		actions = append(actions, Offer{})
	}
	return s, actions
}

func withdraw(s State, why string) (State, []Action) {
	gently := s.GiveBack
	if s.Ending && !s.Stopping {
		s.Stopping, s.GiveBack = true, true // at its end, a process releases what may still be its own
	}
	s.Phase, s.Cause, s.Broken = Withdrawing, why, ""
	return s, []Action{Withdraw{Gently: gently}}
}

// keeps tells whether a holder that could hand over keeps the grant: while the VIP is an address of
// the node itself, the node answers whoever holds, and the next holder would be a second one.
func (s State) keeps() bool { return s.Own != "" }

// handOver withdraws the addresses, and then gives the grant back.
func handOver(s State, why, successor string) (State, []Action) {
	s.GiveBack, s.Successor, s.Reported = true, successor, false
	return withdraw(s, why)
}

// retry is how long a node that failed to add the addresses leaves them to others: a shorter time
// if no successor is known.
func (s State) retry() time.Duration {
	if s.Serving.successor() != "" {
		return serveRetry
	}
	return min(repairPause<<min(s.Failed, 5), serveRetry)
}

// raised handles the outcome of Raise.
func raised(s State, now boottime.Instant, e Raised) (State, []Action) {
	s.Clean = false // a failed Raise may have added an address
	if e.Err == nil {
		s.Present, s.Failed, s.Lasts = Whole, 0, e.Lasts
		return s, nil
	}
	if s.Phase != Holding {
		return s, nil
	}
	if errors.Is(e.Err, ErrTimeout) && s.Repairs.Count > 0 {
		s.Broken = "a repair is not answered in time" // no damage is known: the deadline decides
		return s, nil
	}
	pause := s.retry()
	s.Failed++
	if s.keeps() {
		s.Broken, s.RepairAt = "the address was not added: "+e.Err.Error(), now.Add(pause)
		return s, nil
	}
	s.ServeAt = now.Add(pause)
	return handOver(s, "the address was not added: "+e.Err.Error(), s.Serving.successor())
}

// withdrawn handles the outcome of Withdraw. The grant is never given back while the addresses may
// still be here.
func withdrawn(s State, now boottime.Instant, e Withdrawn) (State, []Action) {
	if s.Phase != Withdrawing {
		return s, nil
	}
	if e.Err != nil {
		s.WithdrawAt = now.Add(withdrawRetry)
		return s, nil
	}
	if e.Diverted {
		return giveBack(s, now, true)
	}
	s.Phase, s.Present, s.Removable, s.Clean, s.WithdrawAt, s.Lasts = Standby, Absent, false, true, 0, 0
	s.Done = s.Stopping
	if !s.GiveBack {
		return reconcileStandby(s, now)
	}
	return giveBack(s, now, false)
}

// giveBack returns the grant. With remove, the addresses still have to be removed.
func giveBack(s State, now boottime.Instant, remove bool) (State, []Action) {
	back := GiveBack{Successor: s.Successor, Reported: s.Reported, Remove: remove}
	s.GiveBack, s.Successor, s.Reported, s.Grant.Held = false, "", false, false
	c := s.campaign(now)
	c.Eligible = false // this node does not ask for the grant that it gives back
	return s, []Action{c, back}
}

// nextWake returns when time alone changes something, at most a second from now: the state is then
// read again, so that a lost event delays the reaction by at most a second.
func nextWake(s State, now boottime.Instant) boottime.Instant {
	at := now.Add(time.Second)
	earlier := func(t boottime.Instant) {
		if t > now {
			at = min(at, t)
		}
	}
	if s.Phase == Holding {
		// At once if the deadline passed since the clock was read: a pause in between must not cost
		// another second.
		at = min(at, max(s.Grant.Until, now+1))
	}
	if s.DownSince != 0 {
		earlier(s.DownSince.Add(linkDownTimeout))
	}
	for _, t := range [...]boottime.Instant{s.ServeAt, s.WithdrawAt, s.RepairAt, s.LeaveAt, s.Rival.ConfirmAt, s.Rival.ProbeAt, s.Rival.Until, s.Repairs.Last.Add(seriesEnd)} {
		earlier(t)
	}
	return at
}

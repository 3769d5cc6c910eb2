package vip

import (
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Timings of step.
const (
	// linkPatience is how long a holder waits for its link to come back before
	// it gives the addresses to a node that has one.
	linkPatience = time.Second
	// withdrawRetry is the pause between attempts to take the addresses away.
	withdrawRetry = 50 * time.Millisecond
	// serveRetry is how long a node that could not put the addresses up does
	// not ask for them again.
	serveRetry = 5 * time.Second
)

// step decides what follows from an event at an instant. It has no I/O and no
// clock. What it guarantees, and the tests check from any state:
//
//   - no Raise without a grant whose deadline lies ahead
//   - a grant that is lost or over leads to Withdraw in the same step
//   - GiveBack only after a Withdrawn without error, with nothing raised since
//   - after Stop, nothing is raised
func step(s State, now boottime.Instant, e Event) (State, []Action) {
	switch e := e.(type) {
	case Granted:
		renewed := s.Phase == Holding && e.Grant.Held && now < e.Grant.Until
		// Lost and won again, and only the newest grant is told of: another node
		// may have announced itself in between.
		other := e.Grant.Term != s.Grant.Term
		s.Grant = e.Grant
		if s.held() {
			s.Rival.Answered = 0 // it was the holder that answered the probes
		}
		if renewed {
			raise := Raise{Grant: s.Grant, Link: s.Link, Announce: other}
			s, actions := dispute(s, now) // it may be the answer to a claim
			return s, append([]Action{raise}, actions...)
		}
	case Looked:
		s = looked(s, now, e)
	case Serving:
		s.Serving = e
		if why, _ := e.unwilling(); why == "" {
			s.Stays, s.LeaveAt = 0, 0
		}
	case Asked:
		return asked(s, now, e.To)
	case Heard:
		return heard(s, now, e)
	case Raised:
		return raised(s, now, e)
	case Withdrawn:
		return withdrawn(s, now, e)
	case Stop:
		s.Stopping = true
		if s.Phase == Standby && s.Clean {
			s.Done = true
			return s, []Action{s.campaign(now), GiveBack{}}
		}
		return giveAway(s, "stopping", s.Serving.successor())
	}
	return settle(s, now)
}

// looked takes in the levels that were seen. A link that is another one now, or
// an address that went, leaves a holder's work broken.
func looked(s State, now boottime.Instant, e Looked) State {
	if e.Link.MAC == "" {
		e.Link.MAC = s.Link.MAC // a link that went does not change who we are in the election
	}
	if what := s.broken(e); what != "" && s.Phase == Holding {
		s.Broken = what
	}
	s.Link, s.Ours, s.Stray, s.Clean, s.Unfenced = e.Link, e.Ours, e.Stray, !e.Marked, e.Unfenced
	switch {
	case e.Link.Up:
		s.DownSince = 0
	case s.DownSince == 0:
		s.DownSince = now
	}
	return s
}

// settle draws what follows from the levels: grant, link, addresses, time.
func settle(s State, now boottime.Instant) (State, []Action) {
	switch s.Phase {
	case Holding:
		return settleHolding(s, now)
	case Withdrawing:
		if now >= s.WithdrawAt {
			return s, []Action{Withdraw{Gently: s.GiveBack}}
		}
		return s, nil
	default:
		return settleStandby(s, now)
	}
}

func settleHolding(s State, now boottime.Instant) (State, []Action) {
	if s.Fight.over(now) {
		s.Fight = Fight{}
	}
	why, to := s.Serving.leave()
	switch {
	case !s.Grant.Held:
		return withdraw(s, s.Grant.Why)
	case now >= s.Grant.Until:
		return withdraw(s, "the deadline passed")
	case s.DownSince != 0 && now >= s.DownSince.Add(linkPatience):
		return giveAway(s, "the interface is down", s.Serving.successor())
	case to != "" && now >= s.LeaveAt:
		return giveAway(s, why, to)
	case s.Broken != "" && s.Link.Up && now >= s.RepairAt:
		return repair(s, now)
	}
	s, actions := dispute(s, now)
	return s, append(actions, s.campaign(now))
}

func settleStandby(s State, now boottime.Instant) (State, []Action) {
	g := s.Grant
	switch {
	case s.Stopping:
		return s, nil
	case g.Held && now < g.Until && s.Link.Up && now >= s.ServeAt:
		return serve(s, now)
	case g.Held && now < g.Until:
		return giveAway(s, "granted, and the interface is not usable", s.Serving.successor())
	case (s.Ours || s.Stray) && g.Known && !g.Held && g.Holder != "" && g.Holder != s.Node:
		return withdraw(s, "left behind here while "+g.Holder+" holds it")
	}
	s, actions := probe(s, now)
	return s, append(actions, s.campaign(now))
}

// serve begins to hold. A node that would rather not have the addresses took them
// because nobody else did; it does not try to get rid of them at once.
func serve(s State, now boottime.Instant) (State, []Action) {
	s.Phase, s.Cause, s.Broken, s.Fight = Holding, s.Grant.Why, "", Fight{}
	s.Rival.At = 0
	if why, _ := s.Serving.unwilling(); why != "" {
		s.LeaveAt = now.Add(stay << min(s.Stays, maxStays))
		s.Stays++
	}
	return s, []Action{Raise{Grant: s.Grant, Link: s.Link, Announce: true}, s.campaign(now)}
}

func withdraw(s State, why string) (State, []Action) {
	s.Phase, s.Cause, s.Broken = Withdrawing, why, ""
	return s, []Action{Withdraw{Gently: s.GiveBack}}
}

// giveAway withdraws, and then gives the grant back.
func giveAway(s State, why, successor string) (State, []Action) {
	s.GiveBack, s.Successor = true, successor
	return withdraw(s, why)
}

// raised takes in how putting the addresses up went.
func raised(s State, now boottime.Instant, e Raised) (State, []Action) {
	s.Clean = false // one that failed may have put something up all the same
	if e.Err == nil {
		s.Ours = true
		return s, nil
	}
	if s.Phase != Holding {
		return s, nil
	}
	if e.Refresh {
		// There is time left to try again before it is given up.
		s.Broken = "a renewal could not be carried out here: " + e.Err.Error()
		return s, nil
	}
	s.ServeAt = now.Add(serveRetry)
	return giveAway(s, "the address could not be put up: "+e.Err.Error(), s.Serving.successor())
}

// withdrawn takes in how taking the addresses away went. What may still be here
// is never given back.
func withdrawn(s State, now boottime.Instant, e Withdrawn) (State, []Action) {
	if s.Phase != Withdrawing {
		return s, nil
	}
	if e.Err != nil {
		s.WithdrawAt = now.Add(withdrawRetry)
		return s, nil
	}
	s.Phase, s.Ours, s.Stray, s.Clean, s.WithdrawAt = Standby, false, false, true, 0
	if !s.GiveBack {
		return settleStandby(s, now)
	}
	successor := s.Successor
	s.GiveBack, s.Successor, s.Grant.Held, s.Done = false, "", false, s.Stopping
	c := s.campaign(now)
	c.Eligible = false // not for what is being given back
	return s, []Action{c, GiveBack{Successor: successor}}
}

// wake is when time alone changes something, and no later than a second from
// now: the levels are looked at again, so that a lost event costs a moment.
func wake(s State, now boottime.Instant) boottime.Instant {
	at := now.Add(time.Second)
	earlier := func(t boottime.Instant) {
		if t > now {
			at = min(at, t)
		}
	}
	if s.Phase == Holding {
		// At once if it passed since the last look at the clock: a pause in
		// between must not cost another second.
		at = min(at, max(s.Grant.Until, now+1))
	}
	if s.DownSince != 0 {
		earlier(s.DownSince.Add(linkPatience))
	}
	for _, t := range [...]boottime.Instant{s.ServeAt, s.WithdrawAt, s.RepairAt, s.LeaveAt, s.Rival.ConfirmAt, s.Rival.ProbeAt, s.Fight.Last.Add(quiet)} {
		earlier(t)
	}
	return at
}

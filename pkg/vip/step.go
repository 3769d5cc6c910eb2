package vip

import (
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Phase is what this node does with the addresses.
type Phase uint8

const (
	// Standby: they are not ours, and not here as far as we know.
	Standby Phase = iota
	// Holding: they are ours until the deadline, and here.
	Holding
	// Withdrawing: they have to go, and are not known to be gone.
	Withdrawing
)

func (p Phase) String() string {
	return [...]string{"standby", "holding", "withdrawing"}[p]
}

// Grant is the right to answer for the addresses, from whatever decides on it.
type Grant struct {
	// Held tells whether there is one.
	Held bool
	// Term is that of the grant.
	Term int
	// Until is its deadline.
	Until boottime.Instant
	// Ticket opens the fence until then.
	Ticket uint64
	// Holder is who has the right, "" for nobody.
	Holder string
	// Known is false until it is known who has.
	Known bool
	// Why says how it came to this.
	Why string
}

// Link is the interface for the addresses.
type Link struct {
	Index int
	MAC   string
	// Up is true when there is a fitting one that is set up and has carrier.
	Up bool
}

// State is all that step decides on. The zero State is a node that has just
// started.
type State struct {
	// Node is this node's name.
	Node  string
	Phase Phase
	// Cause says why the present phase was entered.
	Cause string
	Grant Grant
	Link  Link
	// Ours: the addresses are on the link, with vipd's mark. Stray: one of them
	// is here otherwise, put there by somebody else or left on another link.
	Ours, Stray bool
	// Clean: it is known that none with vipd's mark is here. False while nothing
	// could be looked at.
	Clean bool
	// Broken: a holder's address or link is not as it was put up.
	Broken bool
	// Stopping: the process is to end. Done: nothing of it is here any more.
	Stopping, Done bool
	// GiveBack: the grant is to be given back once the addresses are gone.
	GiveBack bool
	// DownSince is when the link was first seen down, 0 while it is up.
	DownSince boottime.Instant
	// What is not tried again before: to serve, to withdraw, to repair.
	ServeAt, WithdrawAt, RepairAt boottime.Instant
}

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
	// repairPause keeps two programs that undo each other's work from doing so
	// more than a few times a second.
	repairPause = 200 * time.Millisecond
)

// Event is something that happened. Granted and Looked are levels: the newest
// replaces all before.
type Event interface{ event() }

// Granted is where the election stands.
type Granted struct{ Grant Grant }

// Looked is what was seen of the kernel's state.
type Looked struct {
	Link        Link
	Ours, Stray bool
	// Marked: an address with vipd's mark is here, on whatever link.
	Marked bool
}

// Raised tells how putting the addresses up went, or a refresh of what is up.
type Raised struct {
	Refresh bool
	Err     error
}

// Withdrawn tells how taking them away went; nil means known to be gone.
type Withdrawn struct{ Err error }

// Tick is the passing of time.
type Tick struct{}

// Stop is the wish to end.
type Stop struct{}

func (Granted) event()   {}
func (Looked) event()    {}
func (Raised) event()    {}
func (Withdrawn) event() {}
func (Tick) event()      {}
func (Stop) event()      {}

// Action is something to do, in the order given.
type Action interface{ action() }

// Raise opens the fence for the grant, puts the addresses on the link, and, if
// Announce, tells the network. Its outcome comes back as Raised.
type Raise struct {
	Grant    Grant
	Link     Link
	Announce bool
}

// Withdraw falls silent, closes the fence, takes the addresses away and makes
// sure that they are gone. Its outcome comes back as Withdrawn.
type Withdraw struct{}

// GiveBack returns the grant, so that another node may take it at once.
type GiveBack struct{}

// Campaign says whether this node asks for grants, and from which MAC.
type Campaign struct {
	Eligible bool
	MAC      string
}

func (Raise) action()    {}
func (Withdraw) action() {}
func (GiveBack) action() {}
func (Campaign) action() {}

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
		if renewed {
			return s, []Action{Raise{Grant: s.Grant, Link: s.Link, Announce: other}}
		}
	case Looked:
		s = looked(s, now, e)
	case Raised:
		return raised(s, now, e)
	case Withdrawn:
		return withdrawn(s, now, e)
	case Stop:
		s.Stopping, s.GiveBack = true, true
		if s.Phase == Standby && s.Clean {
			s.Done, s.GiveBack = true, false
			return s, []Action{s.campaign(now), GiveBack{}}
		}
		return withdraw(s, "stopping")
	}
	return settle(s, now)
}

// looked takes in the levels that were seen. A link that is another one now, or
// an address that went, leaves a holder's work broken.
func looked(s State, now boottime.Instant, e Looked) State {
	if e.Link.MAC == "" {
		e.Link.MAC = s.Link.MAC // a link that went does not change who we are in the election
	}
	if s.Phase == Holding && (!e.Ours || e.Link.Index != s.Link.Index || e.Link.MAC != s.Link.MAC || e.Link.Up && !s.Link.Up) {
		s.Broken = true
	}
	s.Link, s.Ours, s.Stray, s.Clean = e.Link, e.Ours, e.Stray, !e.Marked
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
			return s, []Action{Withdraw{}}
		}
		return s, nil
	default:
		return settleStandby(s, now)
	}
}

func settleHolding(s State, now boottime.Instant) (State, []Action) {
	switch {
	case !s.Grant.Held:
		return withdraw(s, s.Grant.Why)
	case now >= s.Grant.Until:
		return withdraw(s, "the deadline passed")
	case s.DownSince != 0 && now >= s.DownSince.Add(linkPatience):
		s.GiveBack = true
		return withdraw(s, "the interface is down")
	case s.Broken && s.Link.Up && now >= s.RepairAt:
		s.Broken, s.RepairAt = false, now.Add(repairPause)
		return s, []Action{Raise{Grant: s.Grant, Link: s.Link, Announce: true}, s.campaign(now)}
	}
	return s, []Action{s.campaign(now)}
}

func settleStandby(s State, now boottime.Instant) (State, []Action) {
	g := s.Grant
	switch {
	case s.Stopping:
		return s, nil
	case g.Held && now < g.Until && s.Link.Up && now >= s.ServeAt:
		s.Phase, s.Cause, s.Broken = Holding, g.Why, false
		return s, []Action{Raise{Grant: g, Link: s.Link, Announce: true}, s.campaign(now)}
	case g.Held && now < g.Until:
		s.GiveBack = true
		return withdraw(s, "granted, and the interface is not usable")
	case (s.Ours || s.Stray) && g.Known && !g.Held && g.Holder != "" && g.Holder != s.Node:
		return withdraw(s, "left behind here while "+g.Holder+" holds it")
	}
	return s, []Action{s.campaign(now)}
}

func (s State) campaign(now boottime.Instant) Campaign {
	return Campaign{Eligible: s.Link.Up && !s.Stopping && now >= s.ServeAt, MAC: s.Link.MAC}
}

func withdraw(s State, why string) (State, []Action) {
	s.Phase, s.Cause, s.Broken = Withdrawing, why, false
	return s, []Action{Withdraw{}}
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
		s.Broken = true
		return s, nil
	}
	s.GiveBack, s.ServeAt = true, now.Add(serveRetry)
	return withdraw(s, "the address could not be put up: "+e.Err.Error())
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
	s.GiveBack, s.Grant.Held, s.Done = false, false, s.Stopping
	return s, []Action{Campaign{MAC: s.Link.MAC}, GiveBack{}}
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
	earlier(s.ServeAt)
	earlier(s.WithdrawAt)
	earlier(s.RepairAt)
	return at
}

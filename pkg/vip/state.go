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
	// Confirmed: whoever decides was asked at this time or later, and the answer
	// was that the grant is ours.
	Confirmed boottime.Instant
}

// Link is the interface for the addresses.
type Link struct {
	Index int
	MAC   string
	// Name is for people.
	Name string
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
	Cause   string
	Grant   Grant
	Link    Link
	Serving Serving
	// Ours: the addresses are on the link, with vipd's mark. Stray: one of them
	// is here otherwise, put there by somebody else or left on another link.
	Ours, Stray bool
	// Clean: it is known that none with vipd's mark is here. False while nothing
	// could be looked at.
	Clean bool
	// Unfenced: somebody changed the fence.
	Unfenced bool
	// Broken says in what way a holder's work is not as it was put up, "" if it is.
	Broken string
	// Stopping: the process is to end. Done: nothing of it is here any more.
	Stopping, Done bool
	// GiveBack: the grant is to be given back once the addresses are gone, for
	// Successor, "" for whoever is first.
	GiveBack  bool
	Successor string
	// DownSince is when the link was first seen down, 0 while it is up.
	DownSince boottime.Instant
	// What is not tried again before: to serve, to withdraw, to repair, to leave
	// for another node's better server.
	ServeAt, WithdrawAt, RepairAt, LeaveAt boottime.Instant
	// Stays counts claims in a row by a node that would rather not have it.
	Stays int
	// Fight is about another program that undoes our work.
	Fight Fight
	// Rival is about another machine that claims the addresses.
	Rival Rival
}

// Event is something that happened. Granted, Looked and Serving are levels: the
// newest replaces all before.
type Event interface{ event() }

// Granted is where the election stands.
type Granted struct{ Grant Grant }

// Looked is what was seen of the kernel's state.
type Looked struct {
	Link        Link
	Ours, Stray bool
	// Marked: an address with vipd's mark is here, on whatever link.
	Marked bool
	// Unfenced: somebody changed the holder's fence.
	Unfenced bool
}

// Asked is a person's wish that the addresses move to a node, or to AnyNode.
type Asked struct{ To string }

// AnyNode leaves it to the holder where to move.
const AnyNode = "*"

// Heard is a claim of the addresses by a machine that is not this one.
type Heard struct {
	MAC string
	At  boottime.Instant
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
func (Serving) event()   {}
func (Asked) event()     {}
func (Heard) event()     {}
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
	// Repair says what is to be put right, "" if nothing is; Mend: the fence is
	// part of it.
	Repair string
	Mend   bool
}

// Withdraw falls silent, closes the fence, takes the addresses away and makes
// sure that they are gone. Its outcome comes back as Withdrawn. Gently: they are
// still ours, so that there is time to think of clients first.
type Withdraw struct{ Gently bool }

// GiveBack returns the grant, so that another node may take it at once: the
// successor, before all others, if it is not "".
type GiveBack struct{ Successor string }

// Campaign says whether this node asks for grants, from which MAC, and whom it
// lets go first.
type Campaign struct {
	Eligible bool
	MAC      string
	// HoldBack is how long others may go first; Yield is the same, unless this
	// node was named as the successor.
	HoldBack, Yield time.Duration
	// NotBefore is when it may ask at the earliest.
	NotBefore boottime.Instant
}

// Confirm asks whoever grants whether the grant is still ours. The answer is a
// Granted.
type Confirm struct{}

// Refuse tells who asked for a move why there is none.
type Refuse struct{ Why string }

// Probe asks the network whether a machine has the addresses. A machine that has
// is Heard.
type Probe struct{ Link Link }

// Defend announces once more, against a rival.
type Defend struct{ MAC string }

func (Raise) action()    {}
func (Withdraw) action() {}
func (GiveBack) action() {}
func (Campaign) action() {}
func (Confirm) action()  {}
func (Refuse) action()   {}
func (Probe) action()    {}
func (Defend) action()   {}

package vip

import (
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Phase is the phase of this node in holding the addresses.
type Phase uint8

const (
	// Standby: this node has no right to the addresses, and they are not known to be here.
	Standby Phase = iota
	// Holding: this node has the right until the deadline, and the addresses are here.
	Holding
	// Withdrawing: the addresses have to go, and are not known to be gone.
	Withdrawing
)

func (p Phase) String() string {
	return [...]string{"standby", "holding", "withdrawing"}[p]
}

// Grant is the right to answer for the addresses, from an election or another source.
type Grant struct {
	// Held tells whether this node has the right.
	Held bool
	// Term is the term of the grant.
	Term int
	// Until is the deadline of the grant.
	Until boottime.Instant
	// Ticket opens the fence until the deadline.
	Ticket uint64
	// Holder is the node that has the right, "" for none.
	Holder string
	// Known is false until the holder, or its absence, is known.
	Known bool
	// Why is the reason for this grant, as text for people.
	Why string
	// Confirmed is the latest instant at which a question was sent whose answer was that this node
	// has the grant.
	Confirmed boottime.Instant
	// Reported: the holder before gave the grant back because of reports.
	Reported bool
	// Pledged: this node accepted what another holder offers, and may get the grant at any moment.
	Pledged bool
}

// State is the whole input of step beside the event. The zero State is a node that has just
// started.
type State struct {
	// Node is the name of this node.
	Node string
	// Longest is how long an unobserved holder may go on, for example after the Lease was deleted.
	Longest time.Duration
	Phase   Phase
	// Cause is why the present phase was entered.
	Cause   string
	Grant   Grant
	Places  Places
	Serving Serving
	// Present is how many of the addresses are here. Removable: one of the addresses is here in
	// another form, and this node may remove it: another VIP manager left it, or it is on another
	// link.
	Present   Presence
	Removable bool
	// Lasts is when the lifetime of the addresses ends, as last written.
	Lasts boottime.Instant
	// Own describes where one of the addresses is an address of this node itself, "" if none is.
	// vipd never removes such an address. The node answers for it whoever holds the grant; so the
	// node does not ask for the grant, and as a holder the node keeps the grant: if it gave the
	// grant to another node, two nodes would answer.
	Own string
	// OnLocal describes where one of the addresses is on a local link, which leads nowhere, like
	// kube-proxy's kube-ipvs0 on all nodes. Such an address is only reported.
	OnLocal string
	// Clean: no address with vipd's mark is here. False while the kernel's state could not be read.
	Clean bool
	// Unfenced: another program changed the fence.
	Unfenced bool
	// Broken describes what a holder has to repair, "" for nothing.
	Broken string
	// Ending: the process is to end once another node can take the addresses over. Stopping: the
	// process is to end now. Done: nothing of the process is left on this node.
	Ending, Stopping, Done bool
	// GiveBack: the grant is to be given back once the addresses are gone, to Successor, "" for any
	// candidate.
	GiveBack  bool
	Successor string
	// Reported: the grant is to be given back because of reports.
	Reported bool
	// DownSince is when the link was first seen down, 0 while the link is up.
	DownSince boottime.Instant
	// Earliest instants of the next attempt to serve, to withdraw, to repair, and to hand over to a
	// node with a better server.
	ServeAt, WithdrawAt, RepairAt, LeaveAt boottime.Instant
	// Failed counts the claims in a row that failed on this node.
	Failed int
	// Stays counts the claims in a row by a node that is unwilling to hold.
	Stays int
	// Repairs counts repairs in a row, against another program that undoes the holder's work.
	Repairs RepairSeries
	// Rival is about another machine that claims the addresses.
	Rival Rival
	// Reports is what other nodes report of this one.
	Reports Reports
}

// Event is an input of step. Granted, Observation and Serving are levels: the newest one replaces all
// earlier ones.
type Event interface{ event() }

// Granted is the newest state of the election.
type Granted struct{ Grant Grant }

// Observation is the observed state of the kernel.
type Observation struct {
	Places    Places
	Present   Presence
	Removable bool
	// Own and OnLocal are as in State.
	Own, OnLocal string
	// Marked: an address with vipd's mark is here, on any link.
	Marked bool
	// Ahead: one of the addresses is before the node's own on its link, where other programs of the
	// node take it for the node's own.
	Ahead bool
	// Unfenced: another program changed the holder's fence.
	Unfenced bool
}

// MoveRequest is a person's request to move the addresses to a node, or to AnyNode.
type MoveRequest struct{ To string }

// AnyNode leaves the choice of the node to the holder.
const AnyNode = "*"

// ForeignClaim is a claim of the addresses by another machine. Answers: the claim is an answer to a
// question of this node, as a machine with proxy ARP gives for addresses that it does not have.
type ForeignClaim struct {
	MAC     string
	At      boottime.Instant
	Answers bool
}

// Inquired is the outcome of Inquire. Proxy: only machines that answer for every address answer for
// the addresses, and nothing behind them does.
type Inquired struct{ Proxy bool }

// Raised is the outcome of Raise; Lasts is when the lifetime of the addresses ends.
type Raised struct {
	Lasts boottime.Instant
	Err   error
}

// Extended is the outcome of Extend.
type Extended struct{ Err error }

// Refreshed is the outcome of Refresh; Lasts is when the lifetime of the addresses ends.
type Refreshed struct {
	Lasts boottime.Instant
	Err   error
}

// Withdrawn is the outcome of Withdraw; a nil Err means that the addresses are known to be gone.
type Withdrawn struct {
	Err error
	// Diverted: the addresses are still here, but the fence is closed, and the kernel itself
	// neither takes packets for them nor answers ARP for them; both are confirmed.
	Diverted bool
}

// Tick is the passing of time.
type Tick struct{}

// Stop is the request to end the process at once.
type Stop struct{}

func (Granted) event()      {}
func (Observation) event()  {}
func (Serving) event()      {}
func (MoveRequest) event()  {}
func (ForeignClaim) event() {}
func (Inquired) event()     {}
func (Raised) event()       {}
func (Extended) event()     {}
func (Refreshed) event()    {}
func (Withdrawn) event()    {}
func (Tick) event()         {}
func (Stop) event()         {}

// Action is an output of step. The Manager carries actions out in the given order.
type Action interface{ action() }

// Raise opens the fence for the grant, adds the addresses in their places, and announces them. The
// outcome is a Raised.
type Raise struct {
	Grant  Grant
	Places Places
	// Repair describes what is to be repaired, "" for nothing; RepairFence: the fence has to be repaired
	// too.
	Repair      string
	RepairFence bool
}

// Extend opens the fence for a grant with a later deadline, and touches nothing else. The outcome
// is an Extended.
type Extend struct{ Grant Grant }

// Refresh writes the lifetime of the addresses anew, for the deadline of the grant. The outcome is
// a Refreshed.
type Refresh struct {
	Grant  Grant
	Places Places
}

// Withdraw ends the announcements, closes the fence, removes the addresses and makes sure that they
// are gone. The outcome is a Withdrawn. Gently: the grant is still held, so there is time to divert
// the clients' packets first, and Diverted is enough.
type Withdraw struct{ Gently bool }

// GiveBack returns the grant, so that another node can claim at once: the successor before all
// others, if it is not "". Remove: the addresses, which were only Diverted, are removed after the
// write, and the outcome is a Withdrawn.
//
// Reported: because of reports, see Unreached.
type GiveBack struct {
	Successor string
	Reported  bool
	Remove    bool
}

// Campaign says whether this node asks for grants, from which MAC, and how long the node lets other
// candidates go first.
type Campaign struct {
	Eligible bool
	MAC      string
	// HoldBack is how long other candidates go first; Yield is a further delay, unless this node
	// was named as the successor.
	HoldBack, Yield time.Duration
	// NotBefore is the earliest instant of a claim.
	NotBefore boottime.Instant
	// Ending: this node accepts no offer.
	Ending bool
}

// Confirm asks the election whether this node still has the grant. The answer is a Granted.
type Confirm struct{}

// Refuse answers a request to move with the reason why the addresses stay.
type Refuse struct{ Why string }

// Probe asks the network whether another machine has the addresses. An answer is a ForeignClaim.
type Probe struct{ Places Places }

// Inquire finds out whether the machine that answered for the addresses has them, or answers for
// every address. The outcome is an Inquired, about a second later.
type Inquire struct{ Places Places }

// Defend sends one more announcement against the claim of another machine.
type Defend struct{ MAC string }

func (Raise) action()    {}
func (Extend) action()   {}
func (Refresh) action()  {}
func (Withdraw) action() {}
func (GiveBack) action() {}
func (Campaign) action() {}
func (Confirm) action()  {}
func (Refuse) action()   {}
func (Probe) action()    {}
func (Inquire) action()  {}
func (Defend) action()   {}

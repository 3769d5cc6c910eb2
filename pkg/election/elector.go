// Package election elects, among the control-plane nodes, the one holder of a Lease.
//
// The package uses the lock and the record format of client-go's LeaderElector. The Elector differs
// from the LeaderElector where a virtual IP needs more (docs/adr/0001): the deadline counts from
// the send of the last successful write; another holder in the record ends the holding at once; a
// candidate watches the Lease and times the expiry exactly; the caller releases the Lease, once the
// caller knows that the address is gone. The package knows nothing of addresses. An Elector does
// not stop when the lease is lost: the Elector goes on as a candidate.
//
// Safety, in short (docs/guarantees.md has the full argument): s is when the holder sent its last
// successful write, L the lease duration, M the margin. The holder stops at s+L-M. A candidate
// observed the newest version at o, and claims at o+L at the earliest, by a compare-and-swap on
// that version. The observation follows the commit, and the commit follows the send (o >= commit >=
// s), so the two intervals do not overlap, however an NTP client slews the clock of either node
// (see margin and unslewed.go).
package election

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Status is the state of an Elector. Until decides: with a deadline that has passed, the Lease is
// not held, whatever Held says.
type Status struct {
	// Known is false until the Elector has observed the Lease for the first time.
	Known bool
	Held  bool
	// Term counts the changes of holder (leaseTransitions).
	Term int
	// Until is the deadline, if Held; Lease is the duration of the lease that was written.
	Until boottime.Instant
	Lease time.Duration
	// Ticket is what Arm returned for the write that Until counts from.
	Ticket uint64
	// Holder is the name in the record, "" for none.
	Holder string
	// Why is the reason for this state, as text for people.
	Why string
	// Confirmed is when the last call was sent whose answer showed that this node holds the Lease,
	// if Held.
	Confirmed boottime.Instant
	// Claim describes the claim that began the holding, if Held.
	Claim Claim
	// Pledged: this node accepted, or may have accepted, what the holder offers, and may get the Lease
	// at any moment.
	Pledged bool
}

// Claim describes how a holding began.
type Claim struct {
	// Replaced is the kind of record that the claim replaced: "released", "foreign", "mine", "rebooted"
	// (this node's, of an earlier boot), "namesake" (this node's name, written by another machine),
	// "vacant" (without a holder), "unheld" (without a holder, and never with one) or "absent".
	Replaced string
	// Seen is when that record was first observed, Free from when on the record could be claimed.
	Seen, Free boottime.Instant
	// Sent is when the claim was sent, Written when its success was known.
	Sent, Written boottime.Instant
	// Reported: the record was released because other nodes did not reach its holder.
	Reported bool
}

// Candidate says whether this node wants the Lease, from which MAC, and how long the node lets
// other candidates go first. A node takes up its own Lease again regardless of the delays.
type Candidate struct {
	Eligible bool
	MAC      string
	// HoldBack is how long the candidate leaves a free Lease to others.
	HoldBack time.Duration
	// Yield is a further delay, except for a Lease that was released for this node.
	Yield time.Duration
	// NotBefore is the earliest instant of a claim.
	NotBefore boottime.Instant
	// Ending: this node is about to end, and accepts no offer.
	Ending bool
}

// Options configures an Elector.
type Options struct {
	Self Self
	// Timing is the timing of the shortest lease.
	Timing Timing
	// MaxLease bounds the lease duration where no other node could take over, or where the store is
	// slow; 0 keeps the duration of Timing.
	MaxLease time.Duration
	// Alone, if set, tells whether this node is the only known candidate; known is false while the
	// set of candidates is not known yet. Alone must not block.
	Alone func() (alone, known bool)
	Store Store
	// Arm is called before each write that would make or keep this node the holder, before the send
	// time is taken. Arm starts whatever must end by itself after d. After an error the write is
	// not sent.
	Arm func(d time.Duration) (ticket uint64, err error)
	// Observe, if set, is called from Run with each Event. Observe must not block.
	Observe func(Event)
	// Named tells whether a successor's name means this node; nil compares the name with Self.Node.
	Named func(successor string) bool
	Log   *zap.Logger
	// Now is the clock; nil is CLOCK_BOOTTIME.
	Now boottime.Clock
	// Raw is the second clock that a lease is waited out by; nil is CLOCK_MONOTONIC_RAW, or Now if
	// Now is set.
	Raw boottime.RawClock
}

// Elector campaigns for one Lease. Make an Elector with New, then call Run.
type Elector struct {
	opts        Options
	log         *zap.Logger
	now         boottime.Clock
	raw         boottime.RawClock
	commands    chan func()
	watchEvents chan watchEvent
	results     chan result

	// The fields below belong to Run's goroutine.
	view        view
	candidate   Candidate
	status      Status
	acquired    metav1.Time      // acquireTime of the last write
	writtenRV   string           // resourceVersion that the last successful write made
	sentAt      boottime.Instant // send time of the last successful write
	completedAt boottime.Instant // end of the last call
	timing      Timing           // timing of the last successful write
	reason      Reason           // for the length of that lease
	length      length
	readAt      boottime.Instant // last answer to a read
	mustRead    bool             // read before any other call
	asked       *lease           // the version whose history was asked for last
	confirm     bool             // ask the store whether this node still holds the Lease
	answer      string           // to a request to move, for the next write
	failures    int              // calls in a row without a useful answer
	conflicts   int              // writes in a row that met a newer version
	retryAt     boottime.Instant // no call is sent before
	unarmed     bool             // the last Arm failed, and the failure was logged
	namesake    string           // the MAC that was logged last
	offering    bool             // this node is about to end, see Offer
	bid         bid
	inFlight    *inFlight
	release     *release
}

// release is a call of Release under way. The release goes on after its caller has left, for as
// long as the record names this node: the others can then claim at once instead of waiting the
// lease out, and this node, which had a reason to give the Lease up, does not take it up again.
type release struct {
	ctx   context.Context
	to    Handover
	done  chan error // nil once the caller has left
	since boottime.Instant
	err   error // last error
}

// inFlight is the one API call that may be in flight.
type inFlight struct {
	op     op
	timing Timing
	reason Reason           // for the length of the lease
	due    boottime.Instant // when the renewal was due
	why    string           // reason for the claim, for people
	claim  Claim            // Sent and Written are not known yet
	cancel context.CancelFunc
	// The deadline, timing and reason before this write shortened the lease.
	untilBefore  boottime.Instant
	timingBefore Timing
	reasonBefore Reason
}

type op uint8

const (
	opNone op = iota
	opRead
	opConfirm // a read between two renewals that delays neither
	opCreate  // create an empty Lease where there is none
	opFirst   // ask whether the observed version is the first one that the store ever had
	opHold    // claim or renew
	opRelease
	opAccept // accept the offer of another holder
)

// watchEvent is a version of the Lease that the watch delivered; nil means deleted.
type watchEvent struct {
	lease *coordinationv1.Lease
}

// result is the outcome of a call.
type result struct {
	op     op
	sent   boottime.Instant
	ticket uint64
	lease  *coordinationv1.Lease
	first  bool // to opFirst: lease is the first version
	err    error
}

// ErrNotRunning is returned by Release when Run has ended.
var ErrNotRunning = errors.New("elector is not running")

// New returns an Elector that does not campaign before SetCandidate.
func New(opts Options) *Elector {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	if opts.Raw == nil && opts.Now != nil {
		opts.Raw = func() boottime.Raw { return boottime.Raw(opts.Now()) }
	}
	if opts.Now == nil {
		opts.Now = boottime.Now
	}
	if opts.Raw == nil {
		opts.Raw = boottime.NowRaw
	}
	e := &Elector{opts: opts, log: opts.Log, now: opts.Now, raw: opts.Raw,
		commands: make(chan func()), watchEvents: make(chan watchEvent), results: make(chan result, 1)}
	if opts.Observe == nil {
		e.opts.Observe = func(Event) {}
	}
	if opts.Alone == nil {
		e.opts.Alone = func() (bool, bool) { return false, true }
	}
	e.timing, e.length = opts.Timing, newLength(opts.Timing, opts.MaxLease)
	e.view = view{self: opts.Self, own: e.length.most, named: opts.Named}
	if opts.Named == nil {
		e.view.named = func(s string) bool { return s == opts.Self.Node }
	}
	return e
}

// SetCandidate says whether this node wants the Lease. SetCandidate does not give up a Lease that
// is held: use Release. SetCandidate returns when Run has taken the change, or when ctx ends.
func (e *Elector) SetCandidate(ctx context.Context, c Candidate) {
	e.command(ctx, func() {
		e.candidate = c
		e.view.setMAC(c.MAC)
		e.warnNamesake()
	})
}

// Confirm asks the store whether this node still holds the Lease: by a renewal if one is due soon,
// else by a read. The outcome is a Status with a later Confirmed, or one that is not Held.
func (e *Elector) Confirm(ctx context.Context) {
	e.command(ctx, func() { e.confirm = e.status.Held })
}

// Answer writes into the Lease why a requested move is refused.
func (e *Elector) Answer(ctx context.Context, refusal string) {
	e.command(ctx, func() {
		if e.status.Held {
			e.answer, e.writtenRV = refusalPrefix+refusal, "" // an empty version makes the next write due now
		}
	})
}

// Handover says for whom a Lease is released, and why.
type Handover struct {
	// Successor is the candidate that goes before all others, "" for none.
	Successor string
	// Reported: other nodes do not reach what this node holds.
	Reported bool
}

// Release empties the Lease with the mark of an orderly release, if the record still names this
// node and its term. Call Release only when nothing on this node answers for the address any more.
// The Elector stops campaigning until SetCandidate. The other candidates leave the Lease to the
// successor for 0.2 s. After an error the Lease is not released yet; the
// Elector goes on trying until the record does not name this node any more.
func (e *Elector) Release(ctx context.Context, to Handover) error {
	done := make(chan error, 1)
	r := &release{ctx: ctx, to: to, done: done} // owned by Run from now on
	if !e.command(ctx, func() { e.beginRelease(r) }) {
		return ErrNotRunning
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("release lease: %w", ctx.Err())
	}
}

// command runs f in Run's goroutine.
func (e *Elector) command(ctx context.Context, f func()) bool {
	select {
	case e.commands <- f:
		return true
	case <-ctx.Done():
		return false
	}
}

// Run campaigns until ctx ends, and waits for the goroutines that Run started. Run does not release
// the Lease.
func (e *Elector) Run(ctx context.Context) error {
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		e.watch(ctx)
	}()
	defer func() { <-watching }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			e.awaitInFlight()
			return nil
		case f := <-e.commands:
			f()
		case s := <-e.watchEvents:
			e.handleWatchEvent(s)
		case r := <-e.results:
			e.handleResult(r)
		case <-timer.C:
		}
		// Expire before act: a process that slept through another holder's term would otherwise
		// "repair" the record which that holder left (hack/model, EXPIRE_LATE).
		e.expire()
		timer.Reset(e.act(ctx).Sub(e.now()))
	}
}

// awaitInFlight cancels the call in flight at the end of Run, and waits for the result.
func (e *Elector) awaitInFlight() {
	if e.inFlight != nil {
		e.inFlight.cancel()
		<-e.results
		e.inFlight = nil
	}
	if e.release != nil {
		e.endRelease(ErrNotRunning)
	}
}

// act starts the call that is due, if any, and returns when to call act again.
func (e *Elector) act(ctx context.Context) boottime.Instant {
	now := e.now()
	e.settleRelease(now)
	o, at := e.plan(now)
	if o != opNone && at <= now {
		e.start(ctx, o)
		at = now.Add(e.opts.Timing.Lease) // the result of the call wakes Run earlier
	}
	if e.status.Held {
		at = min(at, e.status.Until)
	}
	return at
}

// plan returns the next call and when the call is due. plan changes nothing.
func (e *Elector) plan(now boottime.Instant) (op, boottime.Instant) {
	t := e.opts.Timing
	switch {
	case e.inFlight != nil && e.release.awaited():
		return opNone, max(now, e.release.since).Add(inFlightGrace)
	case e.inFlight != nil:
		return opNone, now.Add(t.Lease)
	case e.mustRead || !e.view.known:
		return opRead, e.retryAt
	case e.release != nil:
		return opRelease, e.retryAt // settleRelease has checked that the record is ours to release
	case e.view.lease == nil && (e.status.Held || e.candidate.Eligible):
		return opCreate, e.retryAt
	case e.status.Held && !e.asWritten():
		// Blanked, deleted or edited while held: write the record again before another candidate
		// has waited the lease out.
		return opHold, e.retryAt
	case e.status.Held && e.confirm && e.renewAt().Sub(now) < minAttempt:
		return opHold, e.retryAt // better than a read, and a read could delay the renewal
	case e.status.Held && e.confirm:
		return opConfirm, e.retryAt
	case e.status.Held:
		return opHold, e.renewAt()
	case e.candidate.Eligible && e.view.mayBeFirst() && !same(e.asked, e.view.lease):
		return opFirst, e.retryAt
	}
	// A stalled watch looks like a silent holder: read.
	stale := max(e.view.at, e.readAt).Add(e.staleAfter())
	claim := e.claimFrom(now)
	if from, may := e.acceptFrom(now); may && from < claim && from <= max(now, stale) {
		return opAccept, max(e.retryAt, from)
	}
	if e.view.lease != nil && e.candidate.Eligible && claim <= max(now, stale) {
		return opHold, max(e.retryAt, claim)
	}
	return opRead, max(e.retryAt, stale)
}

// renewAt returns when the next renewal is due.
func (e *Elector) renewAt() boottime.Instant {
	return max(e.retryAt, e.sentAt.Add(e.opts.Timing.Renew))
}

// claimFrom returns when this candidate may claim the observed record.
func (e *Elector) claimFrom(now boottime.Instant) boottime.Instant {
	from, c := e.expiry(now), e.candidate
	if e.view.verdict == mine {
		return from
	}
	if !e.view.namedSuccessor() {
		from = from.Add(c.Yield)
	}
	return max(from.Add(c.HoldBack), c.NotBefore)
}

// asWritten tells whether the Lease is as the last write left it.
func (e *Elector) asWritten() bool {
	return e.view.lease != nil && e.view.lease.ResourceVersion == e.writtenRV
}

// handleWatchEvent observes a version of the Lease that the watch delivered.
func (e *Elector) handleWatchEvent(s watchEvent) {
	if e.view.older(s.lease) {
		// The watch lags behind a read or a write, or the store went back to an older state. A read
		// settles which; so does a holder's next write.
		e.mustRead = e.mustRead || !e.status.Held
		return
	}
	if s.lease == nil && e.view.lease != nil {
		// A deletion carries no version, so an old deletion cannot be told from a new one: a holder
		// writes now, a candidate reads.
		e.writtenRV = ""
		e.mustRead = e.mustRead || !e.status.Held
		return
	}
	e.observe(s.lease)
}

// observe takes in a version of the Lease and acts on the change.
func (e *Elector) observe(l *coordinationv1.Lease) {
	if !e.observeNow(l) {
		return
	}
	defer e.opts.Observe(e.view.observation()) // deferred: what is urgent goes first
	e.warnNamesake()
	v := &e.view
	if e.status.Held && !e.stillMine(e.status.Term) {
		e.lose("the lease went to " + describe(v))
		return
	}
	s := e.status
	s.Known, s.Holder, s.Pledged = true, v.holder(), e.bid.pledge != offer{}
	e.notify(s)
	if to := request(l); to != "" && e.status.Held {
		e.opts.Observe(MoveRequest{To: to})
	}
	if by := unreachedBy(l, v.self.Node, e.status.Term); by != "" && e.status.Held {
		e.opts.Observe(Unreached{By: by})
	}
	e.observeAcceptance(l)
}

// warnNamesake logs each MAC that campaigns under this node's name, once.
func (e *Elector) warnNamesake() {
	v, mac := &e.view, ""
	if v.verdict == namesake && v.self.MAC != "" {
		mac = v.record.note.MAC
	}
	if mac != "" && mac != e.namesake {
		e.log.Error("another machine campaigns under this node's name", zap.String("node", v.self.Node), zap.String("mac", mac),
			zap.String("own_mac", v.self.MAC), zap.String("remedy", "give each node a name of its own"))
	}
	e.namesake = mac
}

// stillMine tells whether the holder may go on with this record in place. A blanked or deleted
// record still counts as this node's: the other candidates wait the lease out.
func (e *Elector) stillMine(term int) bool {
	v := &e.view
	switch v.verdict {
	case mine, rebooted, vacant, unheld, absent:
		return true
	case foreign:
		// This node's name, with the annotation gone, or with the annotation as written and another
		// term: somebody edited the Lease by hand. Another elector of the same name would have left
		// both as they were.
		return v.record.holder == v.self.Node && (v.record.term == term && v.record.note == note{} || v.record.note.sameTerm(e.note(term)))
	default:
		return false
	}
}

func describe(v *view) string {
	switch v.verdict {
	case released:
		return "nobody: it was marked as released"
	case namesake:
		return fmt.Sprintf("another machine named %s, at %s", v.record.holder, v.record.note.MAC)
	default:
		return v.record.holder
	}
}

// expire ends a holding whose deadline has passed.
func (e *Elector) expire() {
	if e.status.Held && e.status.Until <= e.now() {
		// A write without an answer may be committed, and then the others wait for it: read before
		// the next write.
		e.mustRead = e.mustRead || e.failures > 0
		e.lose("the lease could not be renewed in time")
	}
}

func (e *Elector) lose(why string) {
	e.log.Info("lease lost", zap.String("reason", why), zap.Int("term", e.status.Term), zap.String("holder", e.view.holder()))
	e.confirm, e.answer, e.offering = false, "", false
	e.notify(Status{Known: true, Term: e.view.term, Holder: e.view.holder(), Why: why})
}

// notify changes the status, and calls Observe if the status differs.
func (e *Elector) notify(s Status) {
	if s == e.status {
		return
	}
	e.status = s
	e.opts.Observe(s)
}

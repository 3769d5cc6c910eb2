// Package election decides, with the other nodes, which of them holds a Lease.
//
// It differs from client-go's LeaderElector, whose lock and record format it
// uses, in what a virtual IP needs (docs/adr/0001): the deadline counts from
// the send of the last good write; a foreign holder in the record ends the
// holding at once; followers watch and time the expiry exactly; a release is
// asked for by whoever knows that the address is gone. It knows nothing of
// addresses. It never ends on a lost lease: it goes on campaigning.
//
// Safety, in short (docs/guarantees.md has it in full): a holder stops at s+L-M,
// s being when its last good write was sent. A candidate writes at o+L at the
// earliest, o being when it saw the newest version, by compare-and-swap on that
// version. o >= commit >= s, so the two do not meet.
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

// Standing is where an Elector stands. Until is what counts: Held with a
// deadline that has passed is not held.
type Standing struct {
	// Known is false until the Lease was seen for the first time.
	Known bool
	Held  bool
	// Term counts the changes of holder.
	Term int
	// Until is the deadline, if Held.
	Until boottime.Instant
	// Ticket is what Arm returned for the write that Until counts from.
	Ticket uint64
	// Holder is the name in the record, "" for none.
	Holder string
	// Why says how it came to this, in words.
	Why string
	// Confirmed is when the last call was sent whose answer showed that the
	// Lease is ours, if Held.
	Confirmed boottime.Instant
	// Claim says when the Lease was claimed, if Held.
	Claim Claim
}

// Claim is how a holding began.
type Claim struct {
	// Over tells what the claim was over: a record that was "released", "foreign",
	// "mine", "rebooted" (mine, of an earlier boot), "namesake" (of my name, from
	// another machine), "vacant" (of nobody's name) or "absent".
	Over string
	// Seen is when the record was first seen that the claim is over, Free from when
	// on it might be claimed.
	Seen, Free boottime.Instant
	// Sent is when the write was, Written when it was known to have succeeded.
	Sent, Written boottime.Instant
}

// Candidate says whether this node wants the Lease, from which MAC, and whom it
// lets go first. None of that keeps a node from taking up its own Lease again.
type Candidate struct {
	Eligible bool
	MAC      string
	// HoldBack is how long it leaves a free Lease to others.
	HoldBack time.Duration
	// Yield is the same, unless the Lease was released for this node.
	Yield time.Duration
	// NotBefore is when it may claim at the earliest.
	NotBefore boottime.Instant
}

// Options configure an Elector.
type Options struct {
	Self   Self
	Timing Timing
	Store  Store
	// Arm is called before each write that would make or keep us the holder,
	// and before its send time is taken. An error keeps the write from being
	// sent. It starts whatever must end by itself d later.
	Arm func(d time.Duration) (ticket uint64, err error)
	// Notify is called from Run whenever the standing changed. It must not block.
	Notify func(Standing)
	// Asked, if set, is told that somebody asks the holder, us, to hand over to
	// a node, or to AnyNode (see MoveAnnotation). It must not block.
	Asked func(to string)
	// Saw, if set, is told from Run of each version of the Lease. It must not block.
	Saw func(Sight)
	// Wrote, if set, is told from Run what came of each claim and renewal. It must
	// not block.
	Wrote func(Write)
	// Named tells whether a successor's name means this node; nil compares it
	// with Self.Node.
	Named func(successor string) bool
	Log   *zap.Logger
	// Now is the clock; nil is CLOCK_BOOTTIME.
	Now boottime.Clock
}

// Elector campaigns for one Lease. Make it with New and call Run.
type Elector struct {
	opts     Options
	log      *zap.Logger
	now      boottime.Clock
	commands chan func()
	seen     chan sighting
	results  chan result

	// The rest belongs to Run's goroutine.
	view      view
	candidate Candidate
	stand     Standing
	acquired  metav1.Time      // what our last write says of when we claimed
	writtenRV string           // the version that our last good write made
	sentAt    boottime.Instant // of the last good write
	readAt    boottime.Instant // of the last answer to a read
	doubt     bool             // read before anything else
	confirm   bool             // read, to know that the Lease is still ours
	answer    string           // to a request to move, for the next write
	failures  int              // calls in a row that got no useful answer
	conflicts int              // writes in a row that met a newer version
	retryAt   boottime.Instant // nothing is sent before
	unarmed   bool             // the last Arm failed, which was logged
	namesake  string           // the MAC of one that was logged
	flight    *flight
	release   *release
}

// release is a Release. It goes on when its caller has gone, for as long as the
// record names us: others may have it at once instead of waiting it out, and this
// node, which had a reason to give it up, does not take it up again.
type release struct {
	ctx       context.Context
	successor string
	done      chan error // nil when its caller has gone
	since     boottime.Instant
	err       error // of the last try
}

// flight is the one API call that may be under way.
type flight struct {
	op     op
	why    string // what makes it due, in words
	claim  Claim  // as far as it is known
	cancel context.CancelFunc
}

type op uint8

const (
	opNone op = iota
	opRead
	opSeed // create an empty Lease where there is none
	opHold // claim or renew
	opRelease
)

// sighting is a version of the Lease that the watch delivered; nil: deleted.
type sighting struct {
	lease *coordinationv1.Lease
}

// result is the outcome of a call.
type result struct {
	op     op
	sent   boottime.Instant
	ticket uint64
	lease  *coordinationv1.Lease
	err    error
}

// ErrNotRunning is returned by Release when Run has ended.
var ErrNotRunning = errors.New("elector is not running")

// New returns an elector that does not want the Lease until SetCandidate.
func New(opts Options) *Elector {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	if opts.Now == nil {
		opts.Now = boottime.Now
	}
	e := &Elector{opts: opts, log: opts.Log, now: opts.Now,
		commands: make(chan func()), seen: make(chan sighting), results: make(chan result, 1)}
	if opts.Asked == nil {
		e.opts.Asked = func(string) {}
	}
	if opts.Saw == nil {
		e.opts.Saw = func(Sight) {}
	}
	if opts.Wrote == nil {
		e.opts.Wrote = func(Write) {}
	}
	e.view = view{self: opts.Self, own: opts.Timing.Lease, named: opts.Named}
	if opts.Named == nil {
		e.view.named = func(s string) bool { return s == opts.Self.Node }
	}
	return e
}

// SetCandidate says whether this node wants the Lease. It does not give up one
// that is held: that takes a Release. It returns when ctx ends or Run heard it.
func (e *Elector) SetCandidate(ctx context.Context, c Candidate) {
	e.command(ctx, func() {
		e.candidate = c
		e.view.setMAC(c.MAC)
		e.warnNamesake()
	})
}

// Confirm reads the Lease now. The outcome is a Standing: a later Confirmed, or
// not Held.
func (e *Elector) Confirm(ctx context.Context) {
	e.command(ctx, func() { e.confirm = e.stand.Held })
}

// Answer tells who asked for a move why it will not be, through the Lease.
func (e *Elector) Answer(ctx context.Context, refusal string) {
	e.command(ctx, func() {
		if e.stand.Held {
			e.answer, e.writtenRV = refusalPrefix+refusal, "" // to be written now
		}
	})
}

// Release empties the Lease with the mark of an orderly release, if the record
// still names us and our term. Call it only when nothing answers any more. The
// elector stops campaigning; SetCandidate makes it campaign again. The others
// leave the Lease to the successor for a moment; "" is for whoever is first. With
// an error it is not released yet, which is tried until it is no longer ours.
func (e *Elector) Release(ctx context.Context, successor string) error {
	done := make(chan error, 1)
	r := &release{ctx: ctx, successor: successor, done: done} // Run's from now on
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

// Run campaigns until ctx ends, and waits for what it started. It does not
// release the Lease.
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
			e.land()
			return nil
		case f := <-e.commands:
			f()
		case s := <-e.seen:
			e.sighted(s)
		case r := <-e.results:
			e.landed(r)
		case <-timer.C:
		}
		// Before act, or one that slept through another's term would put "right"
		// what that one left (hack/model, EXPIRE_LATE).
		e.expire()
		timer.Reset(e.act(ctx).Sub(e.now()))
	}
}

// land waits for the call that is under way, given up, at the end of Run.
func (e *Elector) land() {
	if e.flight != nil {
		e.flight.cancel()
		<-e.results
		e.flight = nil
	}
	if e.release != nil {
		e.endRelease(ErrNotRunning)
	}
}

// act starts the call that is due, if any, and returns when to look again.
func (e *Elector) act(ctx context.Context) boottime.Instant {
	now := e.now()
	e.settleRelease(now)
	o, at := e.plan(now)
	if o != opNone && at <= now {
		e.start(ctx, o)
		at = now.Add(e.opts.Timing.Lease) // its end wakes us
	}
	if e.stand.Held {
		at = min(at, e.stand.Until)
	}
	return at
}

// plan says which call comes next and when it is due. It changes nothing.
func (e *Elector) plan(now boottime.Instant) (op, boottime.Instant) {
	t := e.opts.Timing
	switch {
	case e.flight != nil && e.release.awaited():
		return opNone, max(now, e.release.since).Add(patience)
	case e.flight != nil:
		return opNone, now.Add(t.Lease)
	case e.doubt || !e.view.known || e.confirm:
		return opRead, e.retryAt
	case e.release != nil:
		return opRelease, e.retryAt // settleRelease has seen that there is something to release
	case e.view.lease == nil && (e.stand.Held || e.candidate.Eligible):
		return opSeed, e.retryAt
	case e.stand.Held && !e.asWritten():
		// Blanked, deleted or edited under us: put it right before somebody
		// has waited it out.
		return opHold, e.retryAt
	case e.stand.Held:
		return opHold, max(e.retryAt, e.sentAt.Add(t.Renew))
	}
	// A watch that has stalled looks like a holder that is silent: ask.
	stale := max(e.view.at, e.readAt).Add(t.Lease * 2 / 3)
	if from := e.claimFrom(); e.view.lease != nil && e.candidate.Eligible && from <= max(now, stale) {
		return opHold, max(e.retryAt, from)
	}
	return opRead, max(e.retryAt, stale)
}

// claimFrom is when this candidate may claim what it has seen.
func (e *Elector) claimFrom() boottime.Instant {
	from, c := e.view.from, e.candidate
	if e.view.verdict == mine {
		return from
	}
	if !e.view.chosen() {
		from = from.Add(c.Yield)
	}
	return max(from.Add(c.HoldBack), c.NotBefore)
}

// asWritten tells whether the Lease is as our last write left it.
func (e *Elector) asWritten() bool {
	return e.view.lease != nil && e.view.lease.ResourceVersion == e.writtenRV
}

// sighted takes in what the watch delivered.
func (e *Elector) sighted(s sighting) {
	if e.view.older(s.lease) {
		// The watch lags behind what we read or wrote, or the store went back
		// to an older state. A read tells; a holder's next write does, too.
		e.doubt = e.doubt || !e.stand.Held
		return
	}
	e.observe(s.lease)
}

// observe takes in a version of the Lease and draws the consequences.
func (e *Elector) observe(l *coordinationv1.Lease) {
	now := e.now()
	if !e.view.observe(l, now) {
		return
	}
	defer e.opts.Saw(e.view.sight()) // behind what is urgent
	e.warnNamesake()
	v := &e.view
	if e.stand.Held && !e.stillMine(e.stand.Term) {
		e.lose("the lease went to " + describe(v))
		return
	}
	s := e.stand
	s.Known, s.Holder = true, v.holder()
	e.notify(s)
	if to := request(l); to != "" && e.stand.Held {
		e.opts.Asked(to)
	}
}

// warnNamesake logs once for each MAC that campaigns under our name.
func (e *Elector) warnNamesake() {
	v, mac := &e.view, ""
	if v.verdict == namesake && v.self.MAC != "" {
		mac = v.record.note.MAC
	}
	if mac != "" && mac != e.namesake {
		e.log.Error("another machine campaigns under this node's name: give each node a name of its own",
			zap.String("node", v.self.Node), zap.String("mac", mac), zap.String("own_mac", v.self.MAC))
	}
	e.namesake = mac
}

// stillMine tells whether the holder may go on with this record in place. Blanked
// and deleted ones count as ours until they are waited out: others wait.
func (e *Elector) stillMine(term int) bool {
	v := &e.view
	switch v.verdict {
	case mine, rebooted, vacant, absent:
		return true
	case foreign:
		// Our name with the annotation gone, or with the annotation as we wrote
		// it and another term: edited by hand. Another elector of our name would
		// have left both as they were.
		return v.record.holder == v.self.Node && (v.record.term == term && v.record.note == note{} || v.record.note == e.note(term))
	default:
		return false
	}
}

func describe(v *view) string {
	switch v.verdict {
	case released:
		return "nobody: it was marked as released"
	case namesake:
		return fmt.Sprintf("a namesake of %s at %s", v.record.holder, v.record.note.MAC)
	default:
		return v.record.holder
	}
}

// expire ends a holding whose deadline has passed.
func (e *Elector) expire() {
	if e.stand.Held && e.stand.Until <= e.now() {
		e.lose("the lease could not be renewed in time")
	}
}

func (e *Elector) lose(why string) {
	e.log.Info("lease lost", zap.String("reason", why), zap.Int("term", e.stand.Term), zap.String("holder", e.view.holder()))
	e.confirm, e.answer = false, ""
	e.notify(Standing{Known: true, Term: e.view.term, Holder: e.view.holder(), Why: why})
}

// notify changes the standing and tells of it if it is another one now.
func (e *Elector) notify(s Standing) {
	if s == e.stand {
		return
	}
	e.stand = s
	if e.opts.Notify != nil {
		e.opts.Notify(s)
	}
}

package election

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/vipd-io/vipd/pkg/boottime"
)

const (
	// retryDelay is the pause after a first call that failed; it doubles with
	// each further one, up to the renew interval.
	retryDelay = 100 * time.Millisecond
	// rereadDelay is the pause after a read that said nothing certain.
	rereadDelay = 10 * time.Millisecond
	// patience is what a release waits for a renewal that is under way. Giving
	// it up would cost a new connection and a conflict.
	patience = 100 * time.Millisecond
)

// errLate means that an answer came when its lease was over: think of a process
// that was stopped with the answer waiting in its socket.
var errLate = errors.New("the answer came after the deadline it would have set")

// errUnarmed means that the write was not sent, since nothing would have ended
// what it allows.
var errUnarmed = errors.New("not armed")

// Outcome is what a claim or a renewal came to.
type Outcome string

const (
	Renewed  Outcome = "ok"
	Conflict Outcome = "conflict" // another write came first
	Late     Outcome = "late"     // the answer came when the lease was over
	Failed   Outcome = "failed"   // or it is not known
)

// Write is one claim or renewal.
type Write struct {
	Outcome Outcome
	// Took is from its send to its answer.
	Took time.Duration
	// Left is what was left of the lease that was held when the answer came; not
	// above 0 if none was.
	Left time.Duration
}

// start sends a call from a goroutine of its own; Run hears of it in landed.
func (e *Elector) start(ctx context.Context, o op) {
	if e.release.awaited() {
		ctx = e.release.ctx
	}
	ctx, cancel := context.WithTimeout(ctx, e.opts.Timing.Attempt)
	e.flight = &flight{op: o, why: e.why(), claim: Claim{Over: e.view.verdict.String(), Seen: e.view.at, Free: e.view.from}, cancel: cancel}
	base, write := e.view.lease, e.draft(o)
	go func() { e.results <- e.call(ctx, o, base, write) }()
}

// why says what a claim follows from.
func (e *Elector) why() string {
	v := &e.view
	switch v.verdict {
	case released:
		return v.record.note.Holder + " released the lease"
	case mine:
		return "own lease taken up again"
	case rebooted:
		return "own lease from before a reboot"
	case absent, vacant:
		return "nobody holds the lease"
	default:
		return "the lease of " + v.record.holder + " expired"
	}
}

// call runs in its own goroutine and touches nothing of Run's.
func (e *Elector) call(ctx context.Context, o op, base *lease, w draft) result {
	r := result{op: o}
	if o == opRead {
		r.sent = e.now()
		r.lease, r.err = e.opts.Store.Get(ctx)
		return r
	}
	if o == opHold {
		// The kernel's timer starts before the send time is taken, so it ends
		// no later than the lease.
		if r.ticket, r.err = e.opts.Arm(e.opts.Timing.Hold()); r.err != nil {
			r.err = fmt.Errorf("%w: %w", errUnarmed, r.err)
			return r
		}
	}
	r.sent = e.now()
	r.lease, r.err = e.opts.Store.Write(ctx, base, w.record, w.annotations)
	return r
}

// landed takes in the outcome of the call that was under way.
func (e *Elector) landed(r result) {
	e.flight.cancel()
	f := e.flight
	e.flight = nil
	w, sent := e.outcome(r)
	switch {
	case r.op == opRead:
		e.landedRead(r)
	case r.err == nil:
		e.failures, e.conflicts = 0, 0
		e.landedWrite(r, f)
	default:
		e.failedWrite(r)
	}
	if sent {
		e.opts.Wrote(w) // behind what is urgent
	}
}

func (e *Elector) landedRead(r result) {
	e.confirm = false // if it failed, the next renewal tells
	if r.err != nil {
		e.failed(r.err)
		return
	}
	e.failures, e.readAt = 0, e.now()
	// A read that was sent before a newer version was seen may be behind it.
	e.doubt = r.sent <= e.view.at && e.view.lease != nil && (r.lease == nil || e.view.older(r.lease))
	if e.doubt {
		e.retryAt = e.now().Add(rereadDelay)
		return
	}
	if e.conflicts > 1 {
		// Our own writes are committed and their answers lost, again and again.
		wait := e.backoff(e.conflicts - 2)
		if e.stand.Held {
			wait = min(wait, 2*retryDelay) // they are answered, and the deadline comes closer
		}
		e.retryAt = e.now().Add(wait)
	}
	e.observe(r.lease)
	if e.stand.Held {
		s := e.stand
		s.Confirmed = max(s.Confirmed, r.sent)
		e.notify(s)
	}
}

// outcome is what a claim or a renewal came to, for one that was sent: how much of the
// lease was left is known only before anything follows from it.
func (e *Elector) outcome(r result) (w Write, sent bool) {
	if r.op != opHold || errors.Is(r.err, errUnarmed) {
		return w, false
	}
	now := e.now()
	w = Write{Outcome: Renewed, Took: now.Sub(r.sent)}
	if e.stand.Held {
		w.Left = e.stand.Until.Sub(now)
	}
	switch {
	case overtaken(r.err):
		w.Outcome = Conflict
	case r.err != nil:
		w.Outcome = Failed
	case r.sent.Add(e.opts.Timing.Hold()) <= now:
		w.Outcome = Late
	}
	return w, true
}

// overtaken tells whether a write met a newer version than it was made for.
func overtaken(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
}

func (e *Elector) landedWrite(r result, f *flight) {
	if !e.view.older(r.lease) && e.view.observe(r.lease, e.now()) {
		defer e.opts.Saw(e.view.sight())
	}
	switch {
	case r.op == opRelease:
		e.log.Info("lease released", zap.Int("term", parse(r.lease).term))
		e.endRelease(nil)
		return
	case r.op == opSeed, e.release != nil:
		return // an empty Lease, to be claimed like any other; one to be released
	}
	until := r.sent.Add(e.opts.Timing.Hold())
	if until <= e.now() {
		e.log.Warn("lease write ignored", zap.Error(errLate))
		return
	}
	e.writtenRV, e.sentAt = r.lease.ResourceVersion, r.sent
	if e.answer != "" && e.answer != r.lease.Annotations[MoveAnnotation] {
		e.writtenRV = "" // it came while this write was under way
	} else {
		e.answer = ""
	}
	s := Standing{Known: true, Held: true, Term: parse(r.lease).term, Until: until, Ticket: r.ticket,
		Holder: e.view.self.Node, Why: f.why, Confirmed: r.sent, Claim: f.claim}
	s.Claim.Sent, s.Claim.Written = r.sent, e.now()
	if e.stand.Held {
		s.Why, s.Claim = e.stand.Why, e.stand.Claim
	}
	if !e.stillMine(s.Term) {
		e.writtenRV = ""
		return // the watch has shown already that somebody else came after us
	}
	if !e.stand.Held {
		e.log.Info("lease taken", zap.Int("term", s.Term), zap.String("reason", f.why), zap.Duration("answered_after", e.now().Sub(r.sent)))
	}
	e.notify(s)
}

func (e *Elector) failedWrite(r result) {
	if overtaken(r.err) {
		// Somebody was faster, or our own earlier write came late.
		e.doubt = true
		e.conflicts++
		return
	}
	if !e.stand.Held {
		e.doubt = true // what is claimed or released may be another version by now, with a number that was given again
	}
	e.failed(r.err)
}

// backoff is the pause after so many failures and one.
func (e *Elector) backoff(failures int) time.Duration {
	return min(retryDelay<<min(failures, 6), e.opts.Timing.Renew)
}

// failed notes that a call got no useful answer.
func (e *Elector) failed(err error) {
	e.retryAt = e.now().Add(e.backoff(e.failures))
	e.failures++
	if e.release != nil {
		e.release.err = err
	}
	unarmed := errors.Is(err, errUnarmed)
	if unarmed && !e.unarmed {
		e.log.Error("lease not written: the address could not be fenced", zap.Error(err))
	}
	e.unarmed = unarmed
	e.log.Debug("lease call failed", zap.Error(err), zap.Int("failures", e.failures))
}

// beginRelease gives up the holding: from here on nothing makes us the holder
// again before SetCandidate does. act does the rest.
func (e *Elector) beginRelease(r *release) {
	if e.release.awaited() && e.release.ctx.Err() == nil {
		r.done <- errors.New("release lease: another release is under way")
		return
	}
	e.candidate.Eligible = false
	if !e.view.known {
		r.done <- nil // never seen, so never held: what an earlier process left runs out
		return
	}
	r.since = e.now()
	e.release = r
	e.retryAt = 0
	if e.stand.Held {
		e.lose("given up")
	}
}

// settleRelease ends a release that has nothing left to do, lets its caller go when
// there is no time left, and gives up a call that stands in its way for too long.
func (e *Elector) settleRelease(now boottime.Instant) {
	r := e.release
	switch {
	case r == nil:
	case e.flight != nil:
		if r.awaited() && e.flight.op != opRelease && now.Sub(r.since) >= patience {
			// The store settles it: if the call is committed before our
			// release, that meets a conflict and reads again.
			e.flight.cancel()
		}
	case e.view.known && !e.doubt && !e.ours():
		e.endRelease(nil)
	case r.awaited() && r.ctx.Err() != nil:
		e.leave(errors.Join(r.ctx.Err(), r.err))
	}
}

// awaited tells whether somebody waits for its end.
func (r *release) awaited() bool { return r != nil && r.done != nil }

// leave tells the caller of a release what came of it so far.
func (e *Elector) leave(err error) {
	if e.release.awaited() {
		e.release.done <- err
		e.release.done = nil
	}
}

// ours tells whether the record is ours to release.
func (e *Elector) ours() bool { return e.view.verdict == mine }

func (e *Elector) endRelease(err error) {
	e.leave(err)
	e.release = nil
}

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
	// retryDelay is the pause after the first failed call; the pause doubles with each further
	// failure, up to the renew interval.
	retryDelay = 100 * time.Millisecond
	// eagerDelay is the longest pause before the Lease was read for the first time: clients of a new
	// cluster wait for the VIP, and a single server refuses until the RBAC is applied.
	eagerDelay = 200 * time.Millisecond
	// rereadDelay is the pause after a read that may be older than the known version.
	rereadDelay = 10 * time.Millisecond
	// inFlightGrace is how long a release waits for a renewal in flight. Cancelling the renewal
	// would cost a new connection and a conflict.
	inFlightGrace = 100 * time.Millisecond
)

// errLate means that an answer came after the end of its lease: for example, the process was
// stopped while the answer waited in the socket.
var errLate = errors.New("the answer came after the deadline it would have set")

// errUnarmed means that the write was not sent, because nothing would have ended what the write
// permits.
var errUnarmed = errors.New("not armed")

// Outcome is the outcome of a claim or a renewal.
type Outcome string

const (
	Renewed  Outcome = "ok"
	Conflict Outcome = "conflict" // another write came first
	Late     Outcome = "late"     // the answer came after the end of the lease
	Failed   Outcome = "failed"   // the write failed, or its outcome is not known
)

// Write is one claim or renewal, as it ended.
type Write struct {
	Outcome Outcome
	// Took is the time from the send to the answer.
	Took time.Duration
	// Left is what was left of the held lease when the answer came; 0 or less if no lease was held.
	Left time.Duration
}

// start sends a call from its own goroutine; handleResult gets the result.
func (e *Elector) start(ctx context.Context, o op) {
	if e.release.awaited() {
		ctx = e.release.ctx
	}
	t, reason := e.nextTiming()
	ctx, cancel := context.WithTimeout(ctx, e.timeout(o, t))
	e.confirm = false // the answer to this call is later than the question
	e.inFlight = &inFlight{op: o, timing: t, reason: reason, due: e.due(), why: e.why(),
		claim: Claim{Replaced: e.view.verdict.String(), Seen: e.view.at, Free: e.view.from, Reported: e.view.verdict == released && e.view.record.note.Reported}, cancel: cancel}
	base, write := e.view.lease, e.draft(o)
	switch o {
	case opHold:
		e.shorten(e.inFlight)
	case opFirst:
		e.asked = base
	default:
	}
	go func() { e.results <- e.call(ctx, o, t.Hold(), base, write) }()
}

// nextTiming returns the timing of the next call, and the reason for the length of the lease.
func (e *Elector) nextTiming() (Timing, Reason) {
	n := e.view.record.note
	if !e.status.Held {
		var found time.Duration
		if e.view.record.noted && n.Reason == SlowStore {
			found = time.Duration(n.Seconds) * time.Second
		}
		e.length.inherit(found)
	}
	alone, known := e.opts.Alone()
	if !known {
		// Not known yet, shortly after the start: keep the reason of the record.
		alone = e.status.Held && e.reason == Alone || !e.status.Held && e.view.verdict == mine && n.Reason == Alone
	}
	t, reason := e.length.next(alone)
	if e.status.Held && t.Lease < e.timing.Lease && !e.undisturbed() {
		// A shorter lease means an earlier deadline from the send on: do not shorten while renewals
		// fail.
		return t.withLease(e.timing.Lease, t.Attempt), e.reason
	}
	return t, reason
}

// undisturbed tells whether the last write succeeded and the record is still unchanged.
func (e *Elector) undisturbed() bool { return e.asWritten() && e.failures == 0 && e.conflicts == 0 }

// shorten sets an earlier deadline, the end of the lease that is about to be written: the write
// may be committed without an answer, and the other candidates then wait for the shorter lease
// only. Arm does the same in the kernel.
func (e *Elector) shorten(f *inFlight) {
	f.untilBefore, f.timingBefore, f.reasonBefore = e.status.Until, e.timing, e.reason
	if f.timing.Lease < e.timing.Lease {
		e.adoptTiming(f)
	}
	if until := e.now().Add(f.timing.Hold()); e.status.Held && until < e.status.Until {
		s := e.status
		s.Until = until
		e.notify(s)
	}
}

// undoShorten restores the deadline if the shorter lease was never sent.
func (e *Elector) undoShorten(f *inFlight) {
	if !e.status.Held || e.status.Until >= f.untilBefore {
		return
	}
	e.timing, e.reason = f.timingBefore, f.reasonBefore
	s := e.status
	s.Until = f.untilBefore
	e.notify(s)
}

// timeout returns how long a call may take. A renewal of a lone holder may take half of the time
// that is left, and at least what renewals usually take: the request may be lost, and the store may
// be reachable again. (With other candidates, those would have to wait for each renewal that is
// committed without an answer.)
func (e *Elector) timeout(o op, t Timing) time.Duration {
	now, usual := e.now(), e.length.attempt()
	if o == opConfirm {
		return min(t.Attempt, e.renewAt().Sub(now))
	}
	if left := e.status.Until.Sub(now); o == opHold && e.status.Held && e.reason == Alone && left > usual {
		return min(t.Attempt, max(usual, left/2))
	}
	return t.Attempt
}

// due returns from when on the duration of a call counts: when the renewal was due, or later if the
// call before it delayed the renewal.
func (e *Elector) due() boottime.Instant {
	now := e.now()
	if !e.status.Held || !e.asWritten() {
		return now
	}
	return max(min(e.renewAt(), now), e.completedAt)
}

// why returns the reason for a claim, as text for people.
func (e *Elector) why() string {
	v := &e.view
	switch v.verdict {
	case released:
		return v.record.note.Holder + " released the lease"
	case mine:
		return "own lease taken up again"
	case rebooted:
		return "own lease from before a reboot"
	case unheld:
		return "nobody has ever held the lease"
	case absent, vacant:
		return "nobody holds the lease"
	default:
		return "the lease of " + v.record.holder + " expired"
	}
}

// call runs in its own goroutine and touches none of Run's fields.
func (e *Elector) call(ctx context.Context, o op, hold time.Duration, base *lease, w draft) result {
	r := result{op: o}
	switch o {
	case opRead, opConfirm:
		r.sent = e.now()
		r.lease, r.err = e.opts.Store.Get(ctx)
		return r
	case opFirst:
		r.lease = base
		r.first, r.err = e.opts.Store.First(ctx, base)
		return r
	case opHold:
		// The kernel's timer starts before the send time is taken, so the timer ends no later than
		// the lease.
		if r.ticket, r.err = e.opts.Arm(hold); r.err != nil {
			r.err = fmt.Errorf("%w: %w", errUnarmed, r.err)
			return r
		}
	default:
	}
	r.sent = e.now()
	if o == opAccept {
		r.lease, r.err = e.opts.Store.Annotate(ctx, base, w.annotations)
		return r
	}
	r.lease, r.err = e.opts.Store.Write(ctx, base, w.record, w.annotations)
	return r
}

// handleResult handles the outcome of the call that was in flight.
func (e *Elector) handleResult(r result) {
	e.inFlight.cancel()
	f := e.inFlight
	e.inFlight = nil
	if r.op == opFirst {
		e.completedAt = e.now()
		e.handleFirst(r)
		return
	}
	e.measure(r, f)
	w, sent := e.outcome(r, f)
	switch {
	case r.op == opConfirm && r.err != nil:
		e.log.Debug("lease not confirmed", zap.Error(r.err))
	case r.op == opRead || r.op == opConfirm:
		e.handleRead(r)
	case r.op == opAccept:
		e.handleAcceptance(r)
	case r.err == nil:
		e.failures, e.conflicts = 0, 0
		e.handleWrite(r, f)
	default:
		if errors.Is(r.err, errUnarmed) {
			e.undoShorten(f)
		}
		e.handleWriteError(r)
	}
	if sent {
		e.opts.Observe(w) // what is urgent went first
	}
}

// measure records how fast the store answers.
func (e *Elector) measure(r result, f *inFlight) {
	now, write := e.now(), r.op != opRead && r.op != opConfirm
	e.completedAt = now
	switch {
	case r.err == nil && r.op == opHold && e.status.Held:
		e.length.renewed(now.Sub(f.due))
	case r.err == nil || overtaken(r.err):
		e.length.answered(now.Sub(r.sent), write && r.err == nil) // the server may know of a conflict from its cache
	case r.sent != 0 && now.Sub(r.sent) >= f.timing.Attempt:
		e.length.timedOut(write)
	}
}

func (e *Elector) handleRead(r result) {
	if r.err != nil {
		e.failed(r.err)
		return
	}
	e.failures, e.readAt = 0, e.now()
	// A read that was sent before a newer version was observed may have returned an older one.
	e.mustRead = r.sent <= e.view.at && e.view.lease != nil && (r.lease == nil || e.view.older(r.lease))
	if e.mustRead {
		e.retryAt = e.now().Add(rereadDelay)
		return
	}
	if e.conflicts > 1 {
		// This node's own writes are committed and their answers lost, again and again.
		wait := e.backoff(e.conflicts - 2)
		if e.status.Held {
			wait = min(wait, 2*retryDelay) // the store answers, and the deadline comes closer
		}
		e.retryAt = e.now().Add(wait)
	}
	e.observe(r.lease)
	if e.status.Held {
		s := e.status
		s.Confirmed = max(s.Confirmed, r.sent)
		e.notify(s)
	}
}

// handleFirst handles the answer to the question whether a version is the first one that the store
// ever had. No other answer than yes changes anything: the candidate waits as for any Lease without
// a holder, which may have been blanked, or deleted and created again, while its holder goes on.
func (e *Elector) handleFirst(r result) {
	if r.err == nil && r.first {
		e.view.isFirst(r.lease)
		return
	}
	e.log.Info("lease may have been held before", zap.Error(r.err), zap.String("consequence", "the first claim waits for one lease duration"))
}

// outcome returns the outcome of a claim or a renewal that was sent. What was left of the lease has
// to be computed before the result is handled.
func (e *Elector) outcome(r result, f *inFlight) (w Write, sent bool) {
	if r.op != opHold || errors.Is(r.err, errUnarmed) {
		return w, false
	}
	now := e.now()
	w = Write{Outcome: Renewed, Took: now.Sub(r.sent)}
	if e.status.Held {
		w.Left = e.status.Until.Sub(now)
	}
	switch {
	case overtaken(r.err):
		w.Outcome = Conflict
	case r.err != nil:
		w.Outcome = Failed
	case r.sent.Add(f.timing.Hold()) <= now:
		w.Outcome = Late
	}
	return w, true
}

// overtaken tells whether a write met a newer version than the write was based on.
func overtaken(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
}

func (e *Elector) handleWrite(r result, f *inFlight) {
	if !e.view.older(r.lease) && e.observeNow(r.lease) {
		defer e.opts.Observe(e.view.observation())
	}
	switch {
	case r.op == opRelease:
		e.log.Info("lease released", zap.Int("term", parse(r.lease).term))
		e.endRelease(nil)
		return
	case r.op == opCreate:
		e.log.Info("lease created")
		return // an empty Lease is claimed like any other
	case e.release != nil:
		return // a Lease to be released is not held
	}
	until := r.sent.Add(f.timing.Hold())
	if until <= e.now() {
		e.log.Warn("lease write ignored", zap.Error(errLate))
		return
	}
	e.writtenRV, e.sentAt, e.bid.pledge = r.lease.ResourceVersion, r.sent, offer{}
	e.adoptTiming(f)
	if e.offering && !parse(r.lease).note.Offered {
		e.writtenRV = "" // Offer was called while this write was in flight
	}
	if e.answer != "" && e.answer != r.lease.Annotations[MoveAnnotation] {
		e.writtenRV = "" // the answer was set while this write was in flight
	} else {
		e.answer = ""
	}
	s := Status{Known: true, Held: true, Term: parse(r.lease).term, Until: until, Lease: f.timing.Lease, Ticket: r.ticket,
		Holder: e.view.self.Node, Why: f.why, Confirmed: r.sent, Claim: f.claim}
	s.Claim.Sent, s.Claim.Written = r.sent, e.now()
	if e.status.Held {
		s.Why, s.Claim = e.status.Why, e.status.Claim
	}
	if !e.stillMine(s.Term) {
		e.writtenRV = ""
		return // the watch has already shown a later holder
	}
	if !e.status.Held {
		e.log.Info("lease taken", zap.Int("term", s.Term), zap.String("reason", f.why), zap.Duration("answered_after", e.now().Sub(r.sent)))
	}
	e.notify(s)
}

// adoptTiming sets the length of the lease: a longer one after the write, a shorter one before the
// write.
func (e *Elector) adoptTiming(f *inFlight) {
	if f.reason != e.reason || f.timing.Lease > e.timing.Lease {
		e.log.Info("lease duration changed", zap.Duration("from", e.timing.Lease), zap.Duration("to", f.timing.Lease),
			zap.String("reason", string(f.reason)), zap.Duration("usual_renewal", e.length.usual()))
	}
	e.timing, e.reason = f.timing, f.reason
}

func (e *Elector) handleWriteError(r result) {
	if overtaken(r.err) {
		// Another node was faster, or this node's earlier write was committed late.
		e.mustRead = true
		e.conflicts++
		return
	}
	if !e.status.Held {
		e.mustRead = true // the record may be another version by now, with a resourceVersion that etcd used twice
	}
	e.failed(r.err)
}

// backoff returns the pause after one more failure than the given number.
func (e *Elector) backoff(failures int) time.Duration {
	longest := e.opts.Timing.Renew
	if !e.view.known {
		longest = min(longest, eagerDelay)
	}
	return min(retryDelay<<min(failures, 6), longest)
}

// failed records a call without a useful answer.
func (e *Elector) failed(err error) {
	e.retryAt = e.now().Add(e.backoff(e.failures))
	e.failures++
	if e.release != nil {
		e.release.err = err
	}
	unarmed := errors.Is(err, errUnarmed)
	if unarmed && !e.unarmed {
		e.log.Error("lease not written: fence not armed", zap.Error(err))
	}
	e.unarmed = unarmed
	e.log.Debug("lease call failed", zap.Error(err), zap.Int("failures", e.failures))
}

// beginRelease ends the holding: nothing makes this node the holder again before SetCandidate. act
// does the rest.
func (e *Elector) beginRelease(r *release) {
	if e.release.awaited() && e.release.ctx.Err() == nil {
		r.done <- errors.New("release lease: another release is under way")
		return
	}
	e.candidate.Eligible = false
	if !e.view.known {
		r.done <- nil // never observed, so never held: an earlier process's lease runs out
		return
	}
	r.since = e.now()
	e.release = r
	e.retryAt = 0
	if e.status.Held {
		e.lose("given up")
	}
}

// settleRelease ends a release that has nothing left to do, returns to the caller when the time is
// over, and cancels a call that delays the release for longer than inFlightGrace.
func (e *Elector) settleRelease(now boottime.Instant) {
	r := e.release
	switch {
	case r == nil:
	case e.inFlight != nil:
		if r.awaited() && e.inFlight.op != opRelease && now.Sub(r.since) >= inFlightGrace {
			// The store decides: if the cancelled call is committed first, the release meets a
			// conflict and reads again.
			e.inFlight.cancel()
		}
	case e.view.known && !e.mustRead && !e.ours():
		e.endRelease(nil)
	case r.awaited() && r.ctx.Err() != nil:
		e.answerCaller(errors.Join(r.ctx.Err(), r.err))
	}
}

// awaited tells whether the caller of Release still waits.
func (r *release) awaited() bool { return r != nil && r.done != nil }

// answerCaller returns the outcome so far to the caller of Release.
func (e *Elector) answerCaller(err error) {
	if e.release.awaited() {
		e.release.done <- err
		e.release.done = nil
	}
}

// ours tells whether the record is this node's to release.
func (e *Elector) ours() bool { return e.view.verdict == mine }

func (e *Elector) endRelease(err error) {
	e.answerCaller(err)
	e.release = nil
}

package vip

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// outcome is the result of a call, and when the call ended.
type outcome struct {
	at  boottime.Instant
	err error
}

// withdraw ends the announcements, closes the fence, removes the addresses and confirms the
// removal. The calls to fence and network run concurrently: each alone silences the node, and
// neither may delay the other.
func (m *Manager) withdraw(gently bool) Withdrawn {
	m.until.Store(0)
	m.opts.Announcer.Silence()
	m.record(Silenced, "")
	if gently && m.divert() {
		return Withdrawn{Diverted: true}
	}
	closing, removing := m.startCall(m.closeFence), m.startCall(func() error { return m.remove(!gently) })
	closed, removed := <-closing, <-removing
	m.reportOutcomes(outcomeOf{closed, Closed}, outcomeOf{removed, Removed})
	return Withdrawn{Err: removed.err} // with the addresses gone, a fence that stays open lets nothing through
}

// divert closes the addresses off without removing them. That takes two short calls, whereas the
// time to end connections grows with their number. The result tells whether the node is silent in
// two ways: by the route and by the fence. One way is not enough for a release while the addresses
// are here: somebody may flush the ruleset, and the kernel makes the route anew when the interface
// goes down and up.
func (m *Manager) divert() bool {
	diverting := runWithTimeout(m.withdrawal, closeTimeout, m.network, m.opts.Network.Divert)
	if diverting != nil || m.opts.Slack > 0 {
		return false
	}
	closing := outcomeOf{outcome{err: m.closeFence(), at: m.now()}, Closed} // second: the fence drops what clients send
	m.reportOutcomes(closing)
	return closing.err == nil
}

// giveBack returns the grant. Diverted addresses are removed after the write, because ending
// thousands of connections delays an API server's answer; but the removal does not wait for a slow
// write for longer than closeTimeout.
func (m *Manager) giveBack(ctx context.Context, a GiveBack) Event {
	ctx, cancel := context.WithTimeout(ctx, giveBackBudget)
	defer cancel()
	given := make(chan struct{})
	giving := m.startCall(func() error {
		defer close(given)
		return m.opts.Election.GiveBack(ctx, a)
	})
	if !a.Remove {
		m.reportOutcomes(outcomeOf{<-giving, Released})
		m.clearFence() //nolint:contextcheck // a call has a time of its own, see boundedCall and withdraw
		return nil
	}
	waitFor(given)
	removed := outcomeOf{outcome{err: retry(func() error { return m.remove(false) }), at: m.now()}, Removed}
	m.reportOutcomes(outcomeOf{<-giving, Released}, removed)
	if removed.err == nil {
		m.clearFence() //nolint:contextcheck // a call has a time of its own, see boundedCall and withdraw
	}
	return Withdrawn{Err: removed.err}
}

// closeFence closes the fence.
func (m *Manager) closeFence() error {
	return retry(func() error { return runWithTimeout(context.Background(), closeTimeout, m.fence, m.opts.Fence.Forbid) })
}

// retry repeats a failed call up to maxTries times before anything else is waited for: the kernel
// may have had no room for its answer.
func retry(do func() error) (err error) {
	for try := 1; ; try++ {
		if err = do(); err == nil || errors.Is(err, ErrTimeout) || try == maxTries {
			return err
		}
		<-time.After(tryPause)
	}
}

// remove removes the addresses. With divert, the node is silenced first, however long its
// connections take.
func (m *Manager) remove(divert bool) error {
	return runWithTimeout(m.withdrawal, withdrawTimeout, m.network, func() error {
		if divert {
			_ = m.opts.Network.Divert() // the Network logs an error; what counts is the removal
		}
		return m.opts.Network.Remove()
	})
}

// outcomeOf is the outcome of an operation that is recorded if it succeeded.
type outcomeOf struct {
	outcome
	kind OperationKind
}

// reportOutcomes records or logs the outcomes of calls, in the order of their ends.
func (m *Manager) reportOutcomes(all ...outcomeOf) {
	slices.SortStableFunc(all, func(a, b outcomeOf) int { return cmp.Compare(a.at, b.at) })
	for _, o := range all {
		switch {
		case o.err == nil && m.opts.Observe != nil:
			m.operations = append(m.operations, Operation{Kind: o.kind, At: o.at})
		case o.err == nil:
		case o.kind == Closed:
			m.log.Error("fence not closed", zap.Error(o.err))
		case o.kind == Removed:
			m.log.Error("VIP not withdrawn, retrying", zap.Error(o.err))
		case o.kind == Released:
			m.log.Warn("lease not released in time", zap.Error(o.err),
				zap.String("consequence", "the release is retried while vipd runs; else the lease runs out"))
		}
	}
}

// startCall runs do concurrently.
func (m *Manager) startCall(do func() error) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		err := do()
		done <- outcome{m.now(), err}
	}()
	return done
}

// runWithTimeout runs a call, and stops waiting for it after d.
func runWithTimeout(ctx context.Context, d time.Duration, q callQueue, do func() error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return q.run(ctx, do)
}

// waitFor waits for done, for closeTimeout at most.
func waitFor(done <-chan struct{}) {
	select {
	case <-done:
	case <-time.After(closeTimeout):
	}
}

package vip

import (
	"context"
	"errors"
	"time"
)

// ErrTimeout means that a call into the kernel has not returned in time. The call may still take
// effect later.
var ErrTimeout = errors.New("the kernel has not answered in time")

const (
	// callTimeout is how long the Manager waits for a call into the kernel, but never past the
	// deadline of the grant that is held.
	callTimeout = time.Second
	// endTimeout replaces callTimeout once the process stops, or the grant is lost.
	endTimeout = 100 * time.Millisecond
	// withdrawTimeout is how long the Manager waits for the removal of the addresses.
	withdrawTimeout = 600 * time.Millisecond
	// closeTimeout is how long the Manager waits for the fence to close, or for packets to be
	// diverted, before it goes on without.
	closeTimeout = 100 * time.Millisecond
	// maxTries bounds the attempts of a call that silences the node; tryPause is the pause between
	// two attempts.
	maxTries, tryPause = 3, 10 * time.Millisecond
)

// callQueue makes calls to one collaborator, one after the other. The Manager does not wait for a
// call that exceeds its timeout, but later calls of the queue wait for that call to return: an
// address that is added late is removed after that, and not before.
type callQueue struct{ slot chan struct{} }

func newCallQueue() callQueue { return callQueue{slot: make(chan struct{}, 1)} }

// call runs do, and waits for the result until ctx ends.
func call[T any](ctx context.Context, q callQueue, do func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var none T
	select {
	case q.slot <- struct{}{}:
	case <-ctx.Done():
		return none, ErrTimeout
	}
	answers := make(chan answer, 1)
	go func() {
		value, err := do()
		answers <- answer{value, err}
		<-q.slot
	}()
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		return none, ErrTimeout
	}
}

// run is call for a function without a result.
func (q callQueue) run(ctx context.Context, do func() error) error {
	_, err := call(ctx, q, func() (struct{}, error) { return struct{}{}, do() })
	return err
}

// boundedCall makes a call, and waits for the result no longer than the Manager may.
func boundedCall[T any](m *Manager, q callQueue, do func() (T, error)) (T, error) {
	ctx, d := m.calls, callTimeout
	if ctx.Err() != nil {
		ctx, d = context.Background(), endTimeout
	}
	if m.state.Phase == Holding {
		d = min(d, m.state.Grant.Until.Sub(m.now()))
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	m.cancelWait.Store(&cancel)
	defer m.cancelWait.Store(nil)
	if g := m.grant.Load(); g != nil && m.shortens(*g) {
		m.shortenWait() // the grant came before there was a wait to end
	}
	return call(ctx, q, do)
}

// boundedRun is boundedCall for a function without a result.
func (m *Manager) boundedRun(q callQueue, do func() error) error {
	_, err := boundedCall(m, q, func() (struct{}, error) { return struct{}{}, do() })
	return err
}

// shortenWait ends the wait for the present call after endTimeout.
func (m *Manager) shortenWait() {
	if end := m.cancelWait.Load(); end != nil {
		time.AfterFunc(endTimeout, *end)
	}
}

package fence

import (
	"errors"
	"fmt"
	"time"
)

// ErrTimeout means that the kernel has not answered in time. The call may still take effect.
var ErrTimeout = errors.New("the kernel has not answered in time")

const (
	// callTimeout bounds the wait for the kernel, including the wait for earlier calls. A lease of
	// 2 s leaves 650 ms between the due time of a renewal and its last attempt.
	callTimeout = 500 * time.Millisecond
	// prepareTimeout is the timeout of Prepare, for which the kernel may have to load modules.
	prepareTimeout = 10 * time.Second
)

// serialize makes calls one after the other, and returns ErrTimeout for a call that exceeds the
// timeout. That call goes on, and later calls wait for it: a thread may be inside the kernel for as
// long as the transaction of another program takes, and no socket deadline ends that
// (net/netfilter/nf_tables_api.c, commit_mutex).
//
// A call that takes effect late does no harm: a timer that starts late permits nothing, a late
// Permit names a ticket that has ended, and after a late removal an Arm and a Permit come before
// anything is open again.
func serialize[T any](f *Fence, limit time.Duration, what string, do func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var none T
	end := f.now().Add(limit) // includes the wait for earlier calls
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case f.slot <- struct{}{}:
	case <-timer.C:
		return none, fmt.Errorf("%s: a call before: %w", what, ErrTimeout)
	}
	answers := make(chan answer, 1)
	go func() {
		defer func() { <-f.slot }()
		value, err := do()
		answers <- answer{value, err}
	}()
	for {
		select {
		case a := <-answers:
			if a.err != nil {
				return none, fmt.Errorf("%s: %w", what, a.err)
			}
			return a.value, nil
		case <-timer.C:
		}
		left := end.Sub(f.now())
		if left <= 0 && len(answers) == 0 { // a process that was stopped meanwhile may have its answer
			return none, fmt.Errorf("%s: %w", what, ErrTimeout)
		}
		timer.Reset(max(0, left))
	}
}

// run is serialize for a function without a result.
func (f *Fence) run(what string, do func() error) error {
	_, err := serialize(f, f.timeout, what, func() (struct{}, error) { return struct{}{}, do() })
	return err
}

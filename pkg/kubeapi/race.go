package kubeapi

import (
	"context"
	"errors"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// race is one call that may be sent to several servers.
type race struct {
	servers int
	ask     func(server int) error
	hedge   time.Duration

	results chan error
	running sync.WaitGroup
	started int // servers asked
	pending int // servers asked and not answered
	// conflict: a server met a newer version, which a server that was asked before may have
	// committed. No further server is asked.
	conflict error
	errs     []error
}

func (c *Client) do(ctx context.Context, f call) error {
	servers := c.order()
	return Race(ctx, len(servers), c.opts.Hedge, func(ctx context.Context, i int) error { return c.ask(ctx, servers[i], f) })
}

// Race asks the servers as described at Client.Do, and returns when all started calls have ended.
// Race is exported for tests with their own servers.
func Race(ctx context.Context, servers int, hedge time.Duration, ask func(ctx context.Context, server int) error) error {
	all, cancel := context.WithCancel(ctx)
	r := &race{servers: servers, hedge: hedge, results: make(chan error, servers),
		ask: func(server int) error { return ask(all, server) }}
	defer r.running.Wait()
	defer cancel() // cancel first, so that Wait does not wait for calls that are not needed
	return r.run(ctx)
}

// run returns the result of the first server that settles the call, or all errors when every server
// has failed or ctx ends.
func (r *race) run(ctx context.Context) error {
	var hedge <-chan time.Time
	if r.hedge > 0 {
		ticker := time.NewTicker(r.hedge)
		defer ticker.Stop()
		hedge = ticker.C
	}
	r.next()
	for r.pending > 0 {
		select {
		case <-hedge:
		case err := <-r.results:
			r.pending--
			if r.answered(err) {
				return err
			}
		}
		if ctx.Err() == nil {
			r.next()
		}
	}
	if r.conflict != nil {
		return r.conflict
	}
	return errors.Join(r.errs...)
}

// next asks one more server, if there is one, unless there was a conflict.
func (r *race) next() {
	if r.started == r.servers || r.conflict != nil {
		return
	}
	server := r.started
	r.started++
	r.pending++
	r.running.Go(func() { r.results <- r.ask(server) })
}

// answered tells whether the result of a server settles the call.
func (r *race) answered(err error) bool {
	switch {
	case err == nil:
		return true
	case apierrors.IsConflict(err):
		r.conflict = err
		return false
	case aboutObject(err):
		return true
	}
	r.errs = append(r.errs, err)
	return false
}

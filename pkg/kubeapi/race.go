package kubeapi

import (
	"context"
	"errors"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// race is one call that several servers may be asked for.
type race struct {
	servers []string
	ask     func(server string) error
	hedge   time.Duration

	results chan error
	running sync.WaitGroup
	started int // how many servers were asked
	pending int // how many of them have not answered
	// conflict: a server met a newer version, which one that was asked before may
	// have made. There is no use in asking more.
	conflict error
	errs     []error
}

func (c *Client) do(ctx context.Context, f call) error {
	all, cancel := context.WithCancel(ctx)
	servers := c.order()
	r := &race{servers: servers, hedge: c.opts.Hedge, results: make(chan error, len(servers)),
		ask: func(server string) error { return c.ask(all, server, f) }}
	defer r.running.Wait()
	defer cancel() // first: nobody waits for those that are not needed any more
	return r.run(ctx)
}

// run returns what the first server to succeed came to, or what is known when
// all have failed or ctx ends.
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

// next asks one more server, if there is one and use in it.
func (r *race) next() {
	if r.started == len(r.servers) || r.conflict != nil {
		return
	}
	server := r.servers[r.started]
	r.started++
	r.pending++
	r.running.Go(func() { r.results <- r.ask(server) })
}

// answered tells whether what a server came to settles it.
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

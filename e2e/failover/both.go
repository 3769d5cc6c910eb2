package failover

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// Compatible tells whether two faults are possible together: neither fault breaks what the other
// one needs.
func Compatible(a, b Fault) bool {
	return a.touches&b.touches == 0 && (a.Stranger == nil || b.Stranger == nil)
}

// Both returns a fault that consists of two faults, of which the second starts some time after the
// first. The two have to be Compatible.
func Both(first, second Fault, later time.Duration) Fault {
	f := Fault{
		Promise: record.Both(first.Promise, second.Promise, later), Stranger: first.Stranger, Plain: first.Plain || second.Plain,
		touches: first.touches | second.touches,
		prepare: func(ctx context.Context, r *run) error { return r.split(ctx, first, second) },
		after: func(ctx context.Context, r *run) error {
			return r.each(func(part *run) error { return part.goOn(ctx) })
		},
		heal: func(ctx context.Context, r *run) error {
			return r.each(func(part *run) error { return part.heal(ctx) })
		},
	}
	if f.Stranger == nil {
		f.Stranger = second.Stranger
	}
	f.inject = func(ctx context.Context, r *run) (record.Time, error) {
		at := record.Now()
		g, ctx := errgroup.WithContext(ctx)
		for i, part := range r.parts {
			part.rec = r.rec
			g.Go(func() error {
				if err := wait.For(ctx, time.Duration(i)*later); err != nil {
					return err
				}
				if err := part.inject(ctx); err != nil {
					return fmt.Errorf("%s: %w", part.fault.Name, err)
				}
				return nil
			})
		}
		return at, g.Wait()
	}
	return f
}

// split prepares a run for each of the two faults.
func (r *run) split(ctx context.Context, faults ...Fault) error {
	for i, f := range faults {
		part := newRun(r.lab, f, r.say)
		part.holder = r.holder
		part.rng = newRand(r.fault.Seed, uint64(i))
		r.parts = append(r.parts, part)
	}
	return r.each(func(part *run) error { return part.prepare(ctx) })
}

func (r *run) each(do func(*run) error) (err error) {
	for _, part := range r.parts {
		err = errors.Join(err, do(part))
	}
	return err
}

package failover

import (
	"context"
	"errors"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// regressions are sequences that election and fence were wrong about before, or
// that others are known to be wrong about.
var regressions = []Fault{
	{
		// Nobody may take what he creates himself for his own: another one may have
		// held what was there before.
		Promise: promise{Name: "coldstart", Title: "all vipds ended, Lease deleted, all started", MayMove: true, Within: 3 * ranOut},
		touches: lease | etcd | server,
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			at := record.Now()
			for _, n := range r.lab.Nodes {
				if _, err := n.Vipd.Stop(5 * time.Second); err != nil {
					return at, err
				}
			}
			return at, errors.Join(r.holder.DeleteLease(ctx), startAll(ctx, r))
		},
		heal: startAll,
	},
	{
		// What the first process permitted may not outlast what the second one writes.
		Promise: promise{Name: "shorter", Title: "SIGKILL, restarted with a shorter lease", MayMove: true, Crippled: true, Within: repaired, Heals: 1},
		Plain:   true,
		touches: lease, // whoever makes a deleted one anew writes its own length (docs/guarantees.md)
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			at, err := r.holder.Vipd.Kill()
			if err != nil {
				return at, err
			}
			return at, errors.Join(r.holder.StartVipd("--lease-duration", "2s"), wait.For(ctx, PastLease))
		},
		heal: asUsual,
	},
	{
		// The record's lease is to be waited for, not one's own. The kernel answers
		// for as long.
		Promise: promise{Name: "longer", Title: "SIGKILL, with a longer lease than the others", Moves: true, Crippled: true, Within: ranOut},
		Plain:   true,
		touches: all, // if anything else makes it dark, it is so for 10 s
		prepare: func(ctx context.Context, r *run) error {
			if _, err := r.holder.Vipd.Kill(); err != nil {
				return err
			}
			if err := r.holder.StartVipd("--lease-duration", "10s"); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(ctx, moveTimeout)
			defer cancel()
			return wait.Until(ctx, 50*time.Millisecond, func() (bool, error) {
				l, err := r.holder.Lease(ctx)
				return err == nil && l.Spec.LeaseDurationSeconds != nil && *l.Spec.LeaseDurationSeconds == 10, err
			})
		},
		inject: killVipd,
		heal:   asUsual,
	},
	{
		Promise: promise{Name: "rolling", Title: "one vipd after the other restarted", MayMove: true, Within: handedOver},
		inject: func(_ context.Context, r *run) (record.Time, error) {
			at := record.Now()
			for _, n := range r.lab.Nodes {
				if err := lab.Restart(n.Vipd, 5*time.Second); err != nil {
					return at, err
				}
			}
			return at, nil
		},
		heal: startAll,
	},
}

// asUsual has vipd run with the lab's flags.
func asUsual(_ context.Context, r *run) error {
	if _, err := r.holder.Vipd.Stop(5 * time.Second); err != nil && !errors.Is(err, lab.ErrNotRunning) {
		return err
	}
	return r.holder.StartVipd()
}

package failover

import (
	"context"
	"errors"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// regressions are sequences that revealed errors in election and fence before, or that are known to
// reveal errors in other managers.
var regressions = []Fault{
	{
		// A node that creates the Lease must not take it for its own: another node may have held
		// the deleted Lease.
		Promise: promise{Name: "coldstart", Title: "all vipds ended, Lease deleted, all started", MayMove: true, Within: 3 * ranOut},
		touches: lease | etcd | server,
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			at := record.Now()
			for _, n := range r.lab.Nodes {
				if _, err := lab.StopNow(n.Vipd, 5*time.Second); err != nil {
					return at, err
				}
			}
			return at, errors.Join(r.holder.DeleteLease(ctx), startAll(ctx, r))
		},
		heal: startAll,
	},
	{
		// The ticket of the first process must not outlast the lease that the second process
		// writes.
		Promise: promise{Name: "shorter", Title: "SIGKILL, restarted with a shorter lease", MayMove: true, Crippled: true, Within: repaired, Heals: 1},
		Plain:   true,
		touches: lease, // a node that creates a deleted Lease anew writes its own length (docs/guarantees.md)
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
		// The others have to wait for the lease in the record, and not for their own. The kernel
		// answers for as long.
		Promise: promise{Name: "longer", Title: "SIGKILL, with a longer lease than the others", Moves: true, Crippled: true, Within: ranOut},
		Plain:   true,
		touches: all, // if another fault silences the VIP, that lasts for 10 s
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

// asUsual runs vipd with the flags of the lab.
func asUsual(_ context.Context, r *run) error {
	if _, err := r.holder.Vipd.Stop(5 * time.Second); err != nil && !errors.Is(err, lab.ErrNotRunning) {
		return err
	}
	return r.holder.StartVipd()
}

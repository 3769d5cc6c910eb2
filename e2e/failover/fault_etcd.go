package failover

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// etcdFaults are faults of etcd, on which the lease depends. The VIP does not depend on etcd while
// the holder's API server works, which needs its own etcd member.
var etcdFaults = []Fault{
	{
		Promise: promise{Name: "etcdown", Title: "SIGKILL to the node's etcd", Moves: true, Within: noticed},
		inject:  func(_ context.Context, r *run) (record.Time, error) { return r.holder.Etcd.Kill() },
		heal:    func(ctx context.Context, r *run) error { return restartEtcd(ctx, r.holder) },
	},
	{
		Promise: promise{Name: "etcdmember", Title: "etcd member killed elsewhere"},
		prepare: func(ctx context.Context, r *run) error {
			leader, err := etcdLeader(ctx, r.lab)
			if err != nil {
				return err
			}
			r.victim = r.other(r.holder, leader)
			return nil
		},
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			at, err := r.victim.Etcd.Kill()
			if err != nil {
				return at, err
			}
			return at, wait.For(ctx, PastLease)
		},
		heal: restartVictim,
	},
	{
		// etcd elects a leader within 1 to 2 s, and again if votes are split; the lease of a holder
		// that was about to renew lasts for 1.65 s. So the VIP sometimes moves.
		Promise: promise{Name: "etcdleader", Title: "etcd leader stopped for 2 s", MayMove: true, Within: ranOut},
		prepare: leaderElsewhere,
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			at, err := hold(ctx, 2*time.Second, r.victim.Etcd)
			if err != nil {
				return at, err
			}
			return at, wait.For(ctx, PastLease) // the lease was not renewed meanwhile
		},
		heal: readyAll,
	},
	{
		Promise: promise{Name: "etcdleaderkill", Title: "etcd leader killed elsewhere", MayMove: true, Within: ranOut},
		prepare: leaderElsewhere,
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			at, err := r.victim.Etcd.Kill()
			if err != nil {
				return at, err
			}
			return at, wait.For(ctx, PastLease)
		},
		heal: restartVictim,
	},
	{
		// No node can write: the VIP is silent from the deadline on.
		Promise: promise{Name: "quorum", Title: "etcd without a quorum for 6 s", MayMove: true, Within: 30 * time.Second},
		inject: func(ctx context.Context, r *run) (at record.Time, err error) {
			at = record.Now()
			for _, n := range r.lab.Nodes {
				if n == r.holder {
					continue
				}
				if _, err := n.Etcd.Kill(); err != nil {
					return at, err
				}
			}
			if err := wait.For(ctx, 6*time.Second); err != nil {
				return at, err
			}
			return at, startEtcd(ctx, r)
		},
		heal: startEtcd,
	},
	{
		Promise: promise{Name: "etcdslow", Title: "etcd stops repeatedly", MayFail: true},
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			at := record.Now()
			for record.Now().Sub(at) < 12*time.Second {
				if err := stutter(ctx, r.lab); err != nil {
					return at, err
				}
			}
			return at, nil
		},
		heal: readyAll,
	},
	{
		Promise: promise{Name: "etcdstarved", Title: "each etcd member at a tenth of a CPU for 15 s", MayFail: true},
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			return starve(ctx, func(ctx context.Context, g *errgroup.Group) {
				for _, n := range r.lab.Nodes {
					g.Go(func() error { return lab.Throttle(ctx, n.Etcd, 0.1) })
				}
			})
		},
		heal: readyAll,
	},
	{
		Promise: promise{Name: "syncstorm", Title: "six writers that sync to etcd's disk for 15 s", MayFail: true},
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			return starve(ctx, func(ctx context.Context, g *errgroup.Group) {
				g.Go(func() error { return r.lab.SyncStorm(ctx, 6) })
			})
		},
		heal: readyAll,
	},
}

// starve limits etcd for some time.
func starve(ctx context.Context, begin func(context.Context, *errgroup.Group)) (record.Time, error) {
	at := record.Now()
	short, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	var g errgroup.Group
	begin(short, &g)
	return at, errors.Join(g.Wait(), ctx.Err())
}

// stutter repeatedly stops all members for a second, in which no API server is ready, and continues
// them for less than a second.
func stutter(ctx context.Context, l *lab.Lab) error {
	var members []lab.Daemon
	for _, n := range l.Nodes {
		members = append(members, n.Etcd)
	}
	if _, err := hold(ctx, time.Second, members...); err != nil {
		return err
	}
	return wait.For(ctx, 400*time.Millisecond)
}

// leaderElsewhere selects another node's member as the victim, and makes it the leader.
func leaderElsewhere(ctx context.Context, r *run) error {
	leader, err := etcdLeader(ctx, r.lab)
	if err != nil {
		return err
	}
	if r.victim = leader; leader == r.holder {
		r.victim = r.other(r.holder)
		return r.victim.LeadEtcd(ctx)
	}
	return nil
}

func restartVictim(ctx context.Context, r *run) error {
	if r.victim == nil || r.victim.Etcd.Running() {
		return nil
	}
	return restartEtcd(ctx, r.victim)
}

// startEtcd starts all members that do not run.
func startEtcd(ctx context.Context, r *run) error {
	if err := startMissing(r.lab, func(n *lab.Node) lab.Daemon { return n.Etcd }); err != nil {
		return err
	}
	return readyAll(ctx, r)
}

func restartEtcd(ctx context.Context, n *lab.Node) error {
	if err := n.Etcd.Start(); err != nil {
		return err
	}
	return n.WaitReady(ctx)
}

// readyAll waits until all API servers are ready again.
func readyAll(ctx context.Context, r *run) error {
	for _, n := range r.lab.Nodes {
		if err := n.WaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

func etcdLeader(ctx context.Context, l *lab.Lab) (*lab.Node, error) {
	for _, n := range l.Nodes {
		leads, err := n.LeadsEtcd(ctx)
		if err != nil {
			return nil, err
		}
		if leads {
			return n, nil
		}
	}
	return nil, errors.New("etcd has no leader")
}

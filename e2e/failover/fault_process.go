package failover

import (
	"context"
	"errors"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/analyse"
	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// processFaults are faults of vipd alone.
var processFaults = []Fault{
	{
		Promise: promise{Name: "sigterm", Title: "SIGTERM", Moves: true, Within: handedOver},
		Note:    "vipd withdraws the VIP, confirms that, and releases the Lease, so the next holder need not wait.",
		inject:  stopVipd,
		heal:    startVipd,
	},
	{
		Promise: promise{Name: "sigkill", Title: "SIGKILL, not restarted", Moves: true, Crippled: true, Within: ranOut},
		Note:    "The kernel of the node answers until the deadline of the lease and then stops; only after that, another node starts.",
		inject:  killVipd,
		after:   addressGone,
		heal:    startVipd,
	},
	{
		Promise: promise{Name: "restart", Title: "SIGKILL, restarted within 1 s", Crippled: true},
		Plain:   true,
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			at, err := r.holder.Vipd.Kill()
			if err != nil {
				return at, err
			}
			if err := wait.For(ctx, 700*time.Millisecond); err != nil {
				return at, err
			}
			r.rec.Mark(record.Now(), "vipd restarted on %s", r.holder.Name)
			if err := r.holder.Vipd.Start(); err != nil {
				return at, err
			}
			// Together with settle, longer than the lifetime of the address that the first process
			// left.
			return at, wait.For(ctx, leaseLength)
		},
		heal: startVipd,
	},
	{
		Promise: promise{Name: "sigstop", Title: "SIGSTOP, later SIGCONT", Moves: true, Crippled: true, Within: ranOut},
		inject:  func(_ context.Context, r *run) (record.Time, error) { return r.holder.Vipd.Pause() },
		after: func(_ context.Context, r *run) error {
			at, err := r.holder.Vipd.Resume()
			r.rec.Mark(at, "SIGCONT to vipd on %s", r.holder.Name)
			return err
		},
		heal: func(_ context.Context, r *run) error {
			_, err := r.holder.Vipd.Resume() // again: the first SIGCONT may not have been sent
			return err
		},
	},
	{
		Promise: promise{Name: "stop500ms", Title: "SIGSTOP for 500 ms", Crippled: true},
		inject:  stopFor(500 * time.Millisecond),
	},
	{
		// About as long as the fence is open: the process may be continued in time or not.
		Promise: promise{Name: "stop2s", Title: "SIGSTOP for 2 s", MayMove: true, Crippled: true, Within: ranOut},
		inject:  stopFor(2 * time.Second),
	},
	{
		Promise: promise{Name: "twin", Title: "another vipd started on the same node"},
		Plain:   true, // the lock that makes it wait is in the machine's files
		inject:  func(ctx context.Context, r *run) (record.Time, error) { return r.namesake(ctx, r.holder.Host) },
	},
	{
		Promise: promise{Name: "namesake", Title: "a vipd with the holder's node name on another machine"},
		touches: address, // the second vipd uses the address of the same machine
		inject:  func(ctx context.Context, r *run) (record.Time, error) { return r.namesake(ctx, stranger(r.lab)) },
	},
	{
		Promise: promise{Name: "allkilled", Title: "SIGKILL to all vipds, restarted", MayMove: true, Crippled: true, Within: ranOut},
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			at := record.Now()
			for _, n := range r.lab.Nodes {
				if _, err := n.Vipd.Kill(); err != nil {
					return at, err
				}
			}
			return at, startAll(ctx, r)
		},
		heal: startAll,
	},
	{
		Promise: promise{Name: "cascade", Title: "SIGKILL to the holder, and to the next one as soon as it holds", MayMove: true, Crippled: true, Within: 2 * ranOut},
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			at, err := r.holder.Vipd.Kill()
			if err != nil {
				return at, err
			}
			if r.victim, err = awaitMove(ctx, r.lab, r.holder); err != nil {
				return at, err
			}
			// A node that dies before it announces cannot inform the neighbours. The announcement
			// of a node whose frames are cut is not observed.
			err = within(ctx, time.Second, func() bool { return r.rec.SawAnnouncementOf(r.lab.Cluster().Nodes[r.victim.Name]) })
			if err := nothingElse(ctx, err); err != nil {
				return at, err
			}
			if _, err := r.victim.Vipd.Kill(); err != nil {
				return at, err
			}
			if _, err := awaitMove(ctx, r.lab, r.victim); err != nil {
				return at, err
			}
			return at, startAll(ctx, r)
		},
		heal: startAll,
	},
	{
		Promise: promise{Name: "idle", Title: "SIGTERM, an idle client", Moves: true, EndsIdle: true, Within: handedOver},
		Note:    "A client that only listens would never notice that its server's address has left.",
		inject:  stopVipd,
		after:   awaitIdle,
		heal:    startVipd,
	},
}

// within waits until done, and for the limit at most.
func within(ctx context.Context, limit time.Duration, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return wait.Until(ctx, time.Millisecond, func() (bool, error) { return done(), nil })
}

func stopVipd(_ context.Context, r *run) (record.Time, error) {
	return r.holder.Vipd.Stop(5 * time.Second)
}

func killVipd(_ context.Context, r *run) (record.Time, error) { return r.holder.Vipd.Kill() }

// goneTimeout is how long the observers wait until the kernel has removed an address: longer than
// its lifetime.
const goneTimeout = 4500 * time.Millisecond

// addressGone waits until the former holder has lost the address. An address that stays is part of
// the outcome.
func addressGone(ctx context.Context, r *run) error {
	short, cancel := context.WithTimeout(ctx, goneTimeout)
	defer cancel()
	err := wait.Until(short, 50*time.Millisecond, func() (bool, error) {
		has, err := r.holder.Has(r.lab.VIP)
		return !has, err
	})
	return nothingElse(ctx, err)
}

// startVipd starts vipd on the nodes where it does not run.
func startVipd(_ context.Context, r *run) error {
	if r.holder.Vipd.Running() {
		return nil
	}
	return r.holder.Vipd.Start()
}

func startAll(_ context.Context, r *run) error {
	return startMissing(r.lab, func(n *lab.Node) lab.Daemon { return n.Vipd })
}

// startMissing starts one kind of process on the nodes where it does not run.
func startMissing(l *lab.Lab, of func(*lab.Node) lab.Daemon) error {
	for _, n := range l.Nodes {
		if p := of(n); !p.Running() {
			if err := p.Start(); err != nil {
				return err
			}
		}
	}
	return nil
}

// stopFor stops the holder's vipd for some time, and observes for longer than a lease.
func stopFor(d time.Duration) func(context.Context, *run) (record.Time, error) {
	return func(ctx context.Context, r *run) (record.Time, error) {
		at, err := hold(ctx, d, r.holder.Vipd)
		if err != nil {
			return at, err
		}
		return at, wait.For(ctx, PastLease)
	}
}

// namesake runs another vipd with the holder's node name for longer than a lease.
func (r *run) namesake(ctx context.Context, on *lab.Host) (record.Time, error) {
	at := record.Now()
	p := r.lab.Namesake(r.holder, on)
	if err := p.Start(); err != nil {
		return at, err
	}
	waited := wait.For(ctx, leaseLength)
	_, err := p.Stop(5 * time.Second)
	return at, errors.Join(waited, err, wait.For(ctx, time.Second))
}

// idleTimeout is how long the observers wait until an idle client notices: longer than the usual
// keep-alive interval of clients.
const idleTimeout = 15 * time.Second

// awaitIdle waits until the idle client is connected again. A client that never reconnects is part
// of the outcome.
func awaitIdle(ctx context.Context, r *run) error {
	short, cancel := context.WithTimeout(ctx, idleTimeout)
	defer cancel()
	err := wait.Until(short, 50*time.Millisecond, func() (bool, error) {
		first, ok := analyse.FirstReconnectAfter(r.rec.History().Reconnects, r.at)
		return ok && first.Done > 0, nil
	})
	return nothingElse(ctx, err)
}

// nothingElse ignores that a timeout within ctx has expired: what did not happen in that time is
// part of the outcome.
func nothingElse(ctx context.Context, err error) error {
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil
	}
	return err
}

// hold stops processes for some time. The processes are continued in any case.
func hold(ctx context.Context, d time.Duration, procs ...lab.Daemon) (at record.Time, err error) {
	at = record.Now()
	defer func() {
		for _, p := range procs {
			_, resumed := p.Resume()
			err = errors.Join(err, resumed)
		}
	}()
	for _, p := range procs {
		if _, err := p.Pause(); err != nil {
			return at, err
		}
	}
	return at, wait.For(ctx, d)
}

// Package failover breaks the node that holds the VIP, one fault at a time, and
// tells what a client on the network saw of it. The demo, the benchmark and the
// tests are all made of it.
package failover

import (
	"context"
	"fmt"
	"time"

	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/record"
)

// A Fault is something that happens to the holder.
type Fault struct {
	Name  string // for the command line
	Title string // for people
	Note  string // what to expect, for the demo
	// Moves: another node is to take the VIP. Otherwise nobody may notice.
	Moves bool
	// inject breaks the holder and returns the time just before.
	inject func(ctx context.Context, r *run) (record.Time, error)
	// after, if set, goes on once the VIP has moved, still under observation.
	after func(ctx context.Context, r *run) error
	// heal brings the holder back, out of observation.
	heal func(ctx context.Context, holder *lab.Node) error
}

// settle is for how long the observers watch after the last event: long enough
// to see a second node answer.
const settle = 1500 * time.Millisecond

// None is no fault at all for a while.
func None(d time.Duration) Fault {
	return Fault{
		Name: "none", Title: fmt.Sprintf("none, %s", d),
		inject: func(ctx context.Context, _ *run) (record.Time, error) {
			at := record.Now()
			return at, pause(ctx, d)
		},
	}
}

// Faults are those of one node, by the way in which it ends.
var Faults = []Fault{
	{
		Name: "sigterm", Title: "SIGTERM", Moves: true,
		Note:   "It withdraws, makes sure, and releases the lease: the next one need not wait.",
		inject: func(_ context.Context, r *run) (record.Time, error) { return r.holder.Vipd.Stop(5 * time.Second) },
		heal:   startVipd,
	},
	{
		Name: "sigkill", Title: "SIGKILL, not restarted", Moves: true,
		Note:   "Its kernel answers until the lease's deadline and then falls silent by itself; only then another one starts.",
		inject: func(_ context.Context, r *run) (record.Time, error) { return r.holder.Vipd.Kill() },
		heal:   startVipd,
	},
	{
		Name: "restart", Title: "SIGKILL, restarted within 1 s",
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			at, err := r.holder.Vipd.Kill()
			if err != nil {
				return at, err
			}
			if err := pause(ctx, 700*time.Millisecond); err != nil {
				return at, err
			}
			r.rec.Mark(record.Now(), "vipd restarted on %s", r.holder.Name)
			if err := r.holder.Vipd.Start(); err != nil {
				return at, err
			}
			// Longer than the lease: the address would be gone by then.
			return at, pause(ctx, 5*time.Second)
		},
	},
	{
		Name: "sigstop", Title: "SIGSTOP, later SIGCONT", Moves: true,
		inject: func(_ context.Context, r *run) (record.Time, error) { return r.holder.Vipd.Pause() },
		after: func(_ context.Context, r *run) error {
			at, err := r.holder.Vipd.Resume()
			r.rec.Mark(at, "SIGCONT to vipd on %s", r.holder.Name)
			return err
		},
	},
	{
		Name: "poweroff", Title: "power-off", Moves: true,
		Note:   "vipd, API server, etcd and the link at once: the others wait until the lease has run out.",
		inject: func(_ context.Context, r *run) (record.Time, error) { return r.holder.PowerOff() },
		heal: func(ctx context.Context, holder *lab.Node) error {
			if err := holder.PowerOn(ctx); err != nil {
				return err
			}
			return startVipd(ctx, holder)
		},
	},
	{
		Name: "linkdown", Title: "link of the node down", Moves: true,
		inject: func(_ context.Context, r *run) (record.Time, error) {
			at := record.Now()
			return at, r.holder.LinkDown()
		},
		heal: func(ctx context.Context, holder *lab.Node) error {
			if err := holder.LinkUp(); err != nil {
				return err
			}
			return holder.WaitReady(ctx)
		},
	},
}

// ByName finds a fault.
func ByName(name string) (Fault, error) {
	for _, f := range Faults {
		if f.Name == name {
			return f, nil
		}
	}
	return Fault{}, fmt.Errorf("no fault %q", name)
}

func startVipd(_ context.Context, n *lab.Node) error { return n.Vipd.Start() }

// pause lets time pass that is itself what is to be observed.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

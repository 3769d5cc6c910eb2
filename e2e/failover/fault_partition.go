package failover

import (
	"context"
	"errors"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// partitions cut the holder off from some of the other machines, while all carriers stay. What
// matters is whether the holder can write to the store, which takes two nodes.
var partitions = []Fault{
	{
		// The partition that causes a split brain: all other machines see all three nodes.
		Promise: promise{Name: "cutstore", Title: "holder cut off from the other nodes", Moves: true, Within: ranOut},
		inject:  cutHolder(func(r *run) error { return r.holder.Cut(r.lab.Others(r.holder)...) }),
		heal:    healCut,
	},
	{
		Promise: promise{Name: "cutsend", Title: "no packet from the holder reaches the other nodes", Moves: true, Within: ranOut},
		inject:  cutHolder(func(r *run) error { return r.holder.CutTo(r.lab.Others(r.holder)...) }),
		heal:    healCut,
	},
	{
		Promise: promise{Name: "cutreceive", Title: "no packet from the other nodes reaches the holder", Moves: true, Within: ranOut},
		inject:  cutHolder(func(r *run) error { return r.holder.CutFrom(r.lab.Others(r.holder)...) }),
		heal:    healCut,
	},
	{
		// The store works: the holder cannot know that clients are cut off.
		Promise: promise{Name: "cutclients", Title: "holder cut off from clients for 3 s", MayFail: true, Deafens: true},
		inject:  cutFor(3*time.Second, func(r *run) error { return r.holder.Cut(r.lab.Clients...) }),
		heal:    healCut,
	},
	{
		// Shorter than the time after which a kernel gives up on a neighbour.
		Promise: promise{Name: "cutarp", Title: "no ARP from and to the holder for 2 s", MayFail: true, Deafens: true},
		inject:  cutFor(2*time.Second, func(r *run) error { return r.holder.CutARP() }),
		heal:    healCut,
	},
	{
		Promise: promise{Name: "linkflap", Title: "link of the node down for 300 ms", MayMove: true, Within: ranOut},
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			at := record.Now()
			err := errors.Join(r.holder.LinkDown(), wait.For(ctx, 300*time.Millisecond), r.holder.LinkUp())
			return at, errors.Join(err, wait.For(ctx, PastLease))
		},
		heal: healLink,
	},
}

func cutHolder(cut func(*run) error) func(context.Context, *run) (record.Time, error) {
	return func(_ context.Context, r *run) (record.Time, error) {
		at := record.Now()
		return at, cut(r)
	}
}

// cutFor cuts for some time, and observes for longer than a lease.
func cutFor(d time.Duration, cut func(*run) error) func(context.Context, *run) (record.Time, error) {
	return func(ctx context.Context, r *run) (record.Time, error) {
		at := record.Now()
		err := errors.Join(cut(r), wait.For(ctx, d), r.holder.Heal())
		return at, errors.Join(err, wait.For(ctx, PastLease))
	}
}

func healCut(ctx context.Context, r *run) error {
	return errors.Join(r.holder.Heal(), r.holder.WaitReady(ctx))
}

func healLink(ctx context.Context, r *run) error {
	return errors.Join(r.holder.LinkUp(), r.holder.WaitReady(ctx))
}

package failover

import (
	"context"
	"errors"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// lateFaults follow a write that was answered late. What counts from the answer ends late then,
// such as the lifetime of the address, in whole seconds. So each other fence has to be sufficient
// alone.
var lateFaults = []Fault{
	{
		// The lease still counts from the send time of that write.
		Promise: promise{Name: "latecut", Title: "holder cut off after a write that was answered 0.7 s late", Moves: true, Within: ranOut},
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			if at, err := lateLast(ctx, r); err != nil {
				return at, err
			}
			at := record.Now()
			return at, r.holder.Cut(r.lab.Others(r.holder)...)
		},
		heal: func(ctx context.Context, r *run) error { return errors.Join(r.undo(), healCut(ctx, r)) },
	},
	{
		// The kernel's timer also counts from the send time. The lifetime of the address ends late:
		// it counts whole seconds, from the answer on.
		Promise: promise{Name: "latekill", Title: "SIGKILL after a write that was answered 0.7 s late", Moves: true, Crippled: true, Within: ranOut},
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			if at, err := lateLast(ctx, r); err != nil {
				return at, err
			}
			return killVipd(ctx, r)
		},
		after: addressGone,
		heal:  startLate,
	},
	{
		// By then, the flush of nftables is repaired, and not by a renewal: the hanging renewal
		// began before the flush, and the next one comes later.
		Promise: promise{Name: "flushkill", Title: "nftables flushed after such a write, SIGKILL 200 ms later", Moves: true, Crippled: true, Within: ranOut},
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			if at, err := lateLast(ctx, r); err != nil {
				return at, err
			}
			calm := wait.For(ctx, 300*time.Millisecond)
			if err := errors.Join(calm, r.holder.FlushNftables(), wait.For(ctx, 200*time.Millisecond)); err != nil {
				return 0, err
			}
			return killVipd(ctx, r)
		},
		after: addressGone,
		heal:  func(ctx context.Context, r *run) error { return errors.Join(startLate(ctx, r), restoreForeign(ctx, r)) },
	},
	{
		// Each time, vipd is killed when it begins to examine what the process before left.
		Promise: promise{Name: "crashloop", Title: "SIGKILL after such a write, and soon after each start", Moves: true, Crippled: true, Within: ranOut},
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			if at, err := lateLast(ctx, r); err != nil {
				return at, err
			}
			return crashLoop(ctx, r)
		},
		after: addressGone,
		heal:  startLate,
	},
}

// late is nearly as long as the holder waits for an answer with a lease of 3 s.
const late = 700 * time.Millisecond

// lateLast lets one more write of the holder pass, which is answered late, and returns the time of
// the answer. Later writes hang until undo.
func lateLast(ctx context.Context, r *run) (at record.Time, err error) {
	var last atomic.Bool
	var count atomic.Int64
	undo, err := r.holder.Interpose(func(q *http.Request) lab.Effect {
		switch {
		case !writes(q) || !last.Load():
			return lab.Effect{}
		case count.Add(1) == 1:
			return lab.Effect{DelayAnswer: late}
		}
		return lab.Effect{Hang: true}
	})
	if err != nil {
		return 0, err
	}
	r.undo = undo
	// No call may still be in flight from before the connections ended.
	if err := wait.For(ctx, time.Second); err != nil {
		return 0, err
	}
	at = record.Now()
	last.Store(true)
	return at, errors.Join(r.renewed(ctx), wait.For(ctx, late+100*time.Millisecond))
}

// startLate undoes lateLast and starts vipd.
func startLate(ctx context.Context, r *run) error { return errors.Join(r.undo(), startVipd(ctx, r)) }

// crashLoop kills vipd, and again each time vipd begins to examine what the process before left,
// until another node has the VIP.
func crashLoop(ctx context.Context, r *run) (record.Time, error) {
	at, err := killVipd(ctx, r)
	if err != nil {
		return at, err
	}
	return at, untilMoved(ctx, r, 200*time.Millisecond, func() error {
		before, err := os.Stat(r.holder.Vipd.Log())
		if err != nil {
			return err
		}
		if err := r.holder.Vipd.Start(); err != nil {
			return err
		}
		err = wait.Until(ctx, time.Millisecond, func() (bool, error) {
			now, err := os.Stat(r.holder.Vipd.Log())
			return err == nil && now.Size() > before.Size(), err
		})
		if err := errors.Join(err, wait.For(ctx, time.Duration(r.rng.IntN(30))*time.Millisecond)); err != nil {
			return err
		}
		_, err = r.holder.Vipd.Kill()
		return err
	})
}

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

// lateFaults come behind a write that was answered late. What counts from the answer
// ends late then: the address's own lifetime, of whole seconds, does. So each of the
// other fences has to hold alone.
var lateFaults = []Fault{
	{
		// The lease counts from the send of that one all the same.
		Promise: promise{Name: "latecut", Title: "holder cut off behind a write that was answered 0.7 s late", Moves: true, Within: ranOut},
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
		// And so does what the kernel was told. The address's own lifetime ends late
		// then: it counts whole seconds, from the answer on.
		Promise: promise{Name: "latekill", Title: "SIGKILL behind a write that was answered 0.7 s late", Moves: true, Crippled: true, Within: ranOut},
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
		// Somebody's flush of nftables is put right by then, and not by a renewal: that
		// which hangs was begun before, and the next one is to come.
		Promise: promise{Name: "flushkill", Title: "nftables flushed behind such a write, SIGKILL 200 ms later", Moves: true, Crippled: true, Within: ranOut},
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
		// Each time vipd begins to look after what the one before left.
		Promise: promise{Name: "crashloop", Title: "SIGKILL behind such a write, and soon after each start", Moves: true, Crippled: true, Within: ranOut},
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

// late is nearly as late as the holder waits for an answer with a lease of 3 s.
const late = 700 * time.Millisecond

// lateLast lets one more write of the holder's through, which is answered late, and
// returns when it was. Those behind it hang until undo.
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
	// No call may be on its way that was when the connections ended.
	if err := wait.For(ctx, time.Second); err != nil {
		return 0, err
	}
	at = record.Now()
	last.Store(true)
	return at, errors.Join(r.renewed(ctx), wait.For(ctx, late+100*time.Millisecond))
}

// startLate undoes lateLast and starts vipd.
func startLate(ctx context.Context, r *run) error { return errors.Join(r.undo(), startVipd(ctx, r)) }

// crashLoop kills vipd, and again and again as it begins to look after what the one
// before left, until another node has the VIP.
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

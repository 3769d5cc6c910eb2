package failover

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// startFaults are faults soon after a start: what a node learned meanwhile may no longer be true. A
// starting API server refuses every request until it has read the RBAC rules.
var startFaults = []Fault{
	{
		// As after each boot of a node.
		Promise: promise{Name: "boot", Title: "API server killed within 40 s of a start with vipd", Moves: true, Within: handedOver},
		prepare: boot,
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			later := r.began.Add(time.Duration(r.rng.Int64N(int64(40 * time.Second))))
			if err := wait.For(ctx, later.Sub(record.Now())); err != nil {
				return 0, err
			}
			return r.holder.APIServer.Kill()
		},
		heal: func(ctx context.Context, r *run) error {
			return errors.Join(restartAPIServer(ctx, r), startAll(ctx, r))
		},
	},
	{
		// The same, with a refusal in any case: a new vipd does not learn the other nodes at first.
		Promise: promise{Name: "bootdeny", Title: "API server killed within 25 s of refusals to a new vipd", Moves: true, Within: handedOver},
		Plain:   true,
		prepare: refusedAtFirst,
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			known := 1500 * time.Millisecond // vipd lists again within a second
			if err := wait.For(ctx, known+time.Duration(r.rng.Int64N(int64(23*time.Second)))); err != nil {
				return 0, err
			}
			return r.holder.APIServer.Kill()
		},
		heal: func(ctx context.Context, r *run) error {
			return errors.Join(r.undo(), restartAPIServer(ctx, r), startAll(ctx, r))
		},
	},
}

// boot ends all vipds and the holder's API server, and starts both on that node, and the other
// vipds once that node has the VIP again.
func boot(ctx context.Context, r *run) error {
	for _, n := range r.lab.Nodes {
		if n == r.holder {
			continue
		}
		if _, err := n.Vipd.Stop(5 * time.Second); err != nil {
			return err
		}
	}
	if _, err := lab.StopNow(r.holder.Vipd, 5*time.Second); err != nil { // nobody is left who could follow
		return err
	}
	if _, err := r.holder.APIServer.Kill(); err != nil {
		return err
	}
	r.began = record.Now()
	if err := errors.Join(r.holder.APIServer.Start(), r.holder.Vipd.Start()); err != nil {
		return err
	}
	if err := r.holder.WaitReady(ctx); err != nil {
		return err
	}
	if _, err := settled(ctx, r.lab); err != nil {
		return err
	}
	return errors.Join(startAll(ctx, r), r.holds(ctx))
}

// refusedAtFirst starts another vipd on the holder; all API servers refuse to list the nodes for
// the first 3 s.
func refusedAtFirst(ctx context.Context, r *run) (err error) {
	r.undo, err = r.holder.Interpose(func(q *http.Request) lab.Effect {
		if strings.HasSuffix(q.URL.Path, "/nodes") || strings.HasSuffix(q.URL.Path, "/endpointslices") {
			return lab.Effect{Status: http.StatusForbidden}
		}
		return lab.Effect{}
	})
	if err != nil {
		return err
	}
	if _, err := r.holder.Vipd.Kill(); err != nil {
		return err
	}
	if err := errors.Join(r.holder.Vipd.Start(), wait.For(ctx, 3*time.Second)); err != nil {
		return err
	}
	return errors.Join(r.undo(), r.holds(ctx))
}

// holds waits until the holder has the VIP and everything is healthy.
func (r *run) holds(ctx context.Context) error {
	switch n, err := Ready(ctx, r.lab); {
	case err != nil:
		return err
	case n != r.holder:
		return fmt.Errorf("%s has the VIP, want it on %s", n.Name, r.holder.Name)
	}
	return nil
}

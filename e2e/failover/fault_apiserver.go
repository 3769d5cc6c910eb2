package failover

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/record"
)

// apiServerFaults happen to the holder's API server, or between vipd and all API
// servers. A VIP that leads to a dead server is of no use: it moves. One that is
// slow to answer vipd answers clients all the same: the VIP stays.
var apiServerFaults = []Fault{
	{
		Promise: promise{Name: "apikill", Title: "SIGKILL to the API server", Moves: true, Within: handedOver},
		Note:    "vipd is told by its connections as they break; it finds another API server ready, and hands over through that one.",
		inject:  func(_ context.Context, r *run) (record.Time, error) { return r.holder.APIServer.Kill() },
		heal:    restartAPIServer,
	},
	{
		Promise: promise{Name: "apihang", Title: "SIGSTOP to the API server", Moves: true, Within: noticed},
		inject:  func(_ context.Context, r *run) (record.Time, error) { return r.holder.APIServer.Pause() },
		heal: func(ctx context.Context, r *run) error {
			if _, err := r.holder.APIServer.Resume(); err != nil {
				return err
			}
			return r.holder.WaitReady(ctx)
		},
	},
	{
		// It says that it is about to end, and serves for 3 s more: see LabOptions.
		Promise: promise{Name: "apistop", Title: "SIGTERM to the API server", Moves: true, Within: handedOver},
		inject: func(_ context.Context, r *run) (record.Time, error) {
			return r.holder.APIServer.Signal(syscall.SIGTERM)
		},
		heal: restartAPIServer,
	},
	{
		Promise: promise{Name: "apipause", Title: "API server stopped for 300 ms"},
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			return hold(ctx, 300*time.Millisecond, r.holder.APIServer)
		},
	},
	{
		Promise: promise{Name: "apislow", Title: "API calls take 200 ms more"},
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			return r.interpose(ctx, 15*time.Second, func(*http.Request) lab.Effect { return lab.Effect{Delay: 200 * time.Millisecond} })
		},
	},
	{
		Promise: promise{Name: "apiflaky", Title: "a fifth of API calls fail"},
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			seed := rand.Uint64()
			r.say("seed %d", seed)
			return r.interpose(ctx, 20*time.Second, flaky(seed))
		},
	},
}

func restartAPIServer(ctx context.Context, r *run) error { return r.holder.RestartAPIServer(ctx) }

// interpose does something to the API calls of all vipds for a while. It is an
// error if one of them made none: then nothing was done to it.
func (r *run) interpose(ctx context.Context, d time.Duration, effect func(*http.Request) lab.Effect) (at record.Time, err error) {
	at = record.Now()
	calls := make([]atomic.Int64, len(r.lab.Nodes))
	var undos []func() error
	defer func() {
		for _, undo := range undos {
			err = errors.Join(err, undo())
		}
	}()
	for i, n := range r.lab.Nodes {
		undo, err := n.Interpose(func(q *http.Request) lab.Effect { calls[i].Add(1); return effect(q) })
		if err != nil {
			return at, err
		}
		undos = append(undos, undo)
	}
	if err := pause(ctx, d); err != nil {
		return at, err
	}
	for i, n := range r.lab.Nodes {
		if calls[i].Load() == 0 {
			return at, fmt.Errorf("vipd on %s made no API call in %v", n.Name, d)
		}
	}
	return at, nil
}

// failures are the ways in which an API call fails at once.
var failures = []lab.Effect{
	{Status: http.StatusInternalServerError},
	{Status: http.StatusTooManyRequests},
	{Abort: true},
}

// flaky fails a fifth of all requests.
func flaky(seed uint64) func(*http.Request) lab.Effect {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, 0))
	return func(*http.Request) lab.Effect {
		mu.Lock()
		defer mu.Unlock()
		if rng.IntN(5) > 0 {
			return lab.Effect{}
		}
		return failures[rng.IntN(len(failures))]
	}
}

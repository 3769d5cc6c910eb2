package failover

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// callFaults are faults between vipd and all API servers. The API servers serve clients as before,
// so the VIP stays.
var callFaults = []Fault{
	{
		Promise: promise{Name: "apislow", Title: "API calls take 200 ms more"},
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			return r.interpose(ctx, 8*time.Second, func(*http.Request) lab.Effect { return lab.Effect{Delay: 200 * time.Millisecond} })
		},
	},
	{
		Promise: promise{Name: "apiflaky", Title: "a fifth of API calls fail"},
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			return r.interpose(ctx, 10*time.Second, flaky(r.rng))
		},
	},
	{
		Promise: promise{Name: "calls409", Title: "a third of writes are refused as conflicts"},
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			return r.interpose(ctx, 10*time.Second, some(3, r.rng, writes, lab.Effect{Status: http.StatusConflict}))
		},
	},
	{
		// Two such answers in a row would take longer than a lease of 3 s allows, and the holder
		// would fall silent in time (docs/guarantees.md, "Not promised").
		Promise: promise{Name: "lateanswer", Title: "every other renewal is answered 1.5 s late"},
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			return r.interpose(ctx, 10*time.Second, spaced(1250*time.Millisecond, writes, lab.Effect{DelayAnswer: 1500 * time.Millisecond}))
		},
	},
	{
		Promise: promise{Name: "latecommit", Title: "a third of writes are committed after their caller cancelled them"},
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			return r.interpose(ctx, 10*time.Second, some(3, r.rng, writes, lab.Effect{Delay: 1500 * time.Millisecond, Late: true}))
		},
	},
	{
		// From then on, standbys get no events, and have to detect the expiry by themselves.
		Promise: promise{Name: "watchstall", Title: "SIGKILL, while all watches stall silently", Moves: true, Crippled: true, Within: ranOut},
		touches: process,
		prepare: func(ctx context.Context, r *run) error {
			stall := some(1, r.rng, watches, lab.Effect{Stall: 500 * time.Millisecond})
			var err error
			r.undo, err = r.interposeAll(func(*lab.Node) func(*http.Request) lab.Effect { return stall })
			return errors.Join(err, wait.For(ctx, time.Second))
		},
		inject: killVipd,
		heal:   func(ctx context.Context, r *run) error { return errors.Join(r.undo(), startVipd(ctx, r)) },
	},
}

func writes(q *http.Request) bool  { return q.Method == http.MethodPut }
func watches(q *http.Request) bool { return strings.Contains(q.URL.RawQuery, "watch=") }

// some applies an effect of the list to one of n of the matching requests.
func some(n int, rng *rand.Rand, match func(*http.Request) bool, effects ...lab.Effect) func(*http.Request) lab.Effect {
	var mu sync.Mutex
	return func(q *http.Request) lab.Effect {
		mu.Lock()
		defer mu.Unlock()
		if !match(q) || rng.IntN(n) > 0 {
			return lab.Effect{}
		}
		return effects[rng.IntN(len(effects))]
	}
}

// spaced applies an effect to matching requests, with a minimum time between two of them.
func spaced(apart time.Duration, match func(*http.Request) bool, effect lab.Effect) func(*http.Request) lab.Effect {
	var mu sync.Mutex
	var last record.Time
	return func(q *http.Request) lab.Effect {
		mu.Lock()
		defer mu.Unlock()
		if now := record.Now(); match(q) && (last == 0 || now.Sub(last) >= apart) {
			last = now
			return effect
		}
		return lab.Effect{}
	}
}

// interpose changes the API calls of all vipds for some time. If a vipd made no call in that time,
// that is an error, because the fault had no effect on that vipd.
func (r *run) interpose(ctx context.Context, d time.Duration, effect func(*http.Request) lab.Effect) (at record.Time, err error) {
	at = record.Now()
	calls := make(map[string]*atomic.Int64)
	undo, err := r.interposeAll(func(n *lab.Node) func(*http.Request) lab.Effect {
		count := new(atomic.Int64)
		calls[n.Name] = count
		return func(q *http.Request) lab.Effect { count.Add(1); return effect(q) }
	})
	defer func() { err = errors.Join(err, undo()) }()
	if err := errors.Join(err, wait.For(ctx, d)); err != nil {
		return at, err
	}
	for name, count := range calls {
		if count.Load() == 0 {
			return at, fmt.Errorf("vipd on %s made no API call in %v", name, d)
		}
	}
	return at, nil
}

// interposeAll changes the API calls of all vipds until undo, which is never nil.
func (r *run) interposeAll(effect func(*lab.Node) func(*http.Request) lab.Effect) (undo func() error, err error) {
	var undos []func() error
	undo = func() (err error) {
		for _, one := range undos {
			err = errors.Join(err, one())
		}
		return err
	}
	for _, n := range r.lab.Nodes {
		one, err := n.Interpose(effect(n))
		if err != nil {
			return undo, err
		}
		undos = append(undos, one)
	}
	return undo, nil
}

// failures are the ways in which an API call fails at once.
var failures = []lab.Effect{
	{Status: http.StatusInternalServerError},
	{Status: http.StatusTooManyRequests},
	{Abort: true},
}

// flaky fails a fifth of all requests.
func flaky(rng *rand.Rand) func(*http.Request) lab.Effect {
	return some(5, rng, func(*http.Request) bool { return true }, failures...)
}

// Package status requests the status of the vipds of a lab as a user would: over HTTP, with its own
// list of field names, so that a changed name is noticed.
package status

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vipd-io/vipd/e2e/lab"
)

// Document is the part of GET /status that these tests use.
type Document struct {
	Node, State, Health, Cause string
	Problems                   []string
	Candidate                  bool
	VIPs                       []struct {
		Address string
		Present bool
	}
	Interface struct{ Name, MAC string }
	Lease     struct {
		Holder     string
		HolderMAC  string
		Term       int
		DeadlineMS int `json:"deadlineMs"`
	}
	Fence      struct{ Open bool }
	APIServers []struct{ Node, State string }
	Conflicts  struct{ Count int }
	Repairs    int
}

// History is the answer to GET /history.
type History struct {
	Changes []struct {
		Kind, Holder, Cause string
		Term                int
		Seconds             float64
		Phases              []struct{ What string }
	}
}

// Kinds counts the changes of each kind.
func (h History) Kinds() map[string]int {
	out := make(map[string]int)
	for _, c := range h.Changes {
		out[c.Kind]++
	}
	return out
}

// Read requests a document.
func Read[T any](ctx context.Context, n *lab.Node, path string) (out T, err error) {
	body, err := n.Status(ctx, path)
	if err == nil {
		err = json.Unmarshal(body, &out)
	}
	return out, err
}

// Loaded is how many requests of a load were answered, and how many were not.
type Loaded struct{ Answered, Failed int64 }

// Load sends requests to a node's vipd at a rate per second, for /status and /metrics in turn,
// until stop is called.
func Load(ctx context.Context, n *lab.Node, rate int) (stop func() Loaded) {
	ctx, cancel := context.WithCancel(ctx)
	c := n.StatusClient()
	ticks := make(chan struct{}, rate)
	var all sync.WaitGroup
	var answered, failed atomic.Int64
	all.Go(func() { tick(ctx, ticks, rate) })
	for worker := range 16 {
		all.Go(func() {
			for i := worker; ; i++ {
				if _, ok := <-ticks; !ok {
					return
				}
				if _, err := lab.GetStatus(ctx, c, []string{"/status", "/metrics"}[i%2]); err == nil {
					answered.Add(1)
				} else if ctx.Err() == nil {
					failed.Add(1)
				}
			}
		})
	}
	return func() Loaded {
		cancel()
		all.Wait()
		c.CloseIdleConnections()
		return Loaded{Answered: answered.Load(), Failed: failed.Load()}
	}
}

// tick fills ticks at a rate, in portions, because a timer is not precise enough.
func tick(ctx context.Context, ticks chan<- struct{}, rate int) {
	defer close(ticks)
	const portions = 100
	ticker := time.NewTicker(time.Second / portions)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for range rate / portions {
			select {
			case ticks <- struct{}{}:
			default: // the clients cannot keep up
			}
		}
	}
}

// Package lone tests a control plane with one node: no other node could take the VIP, so no problem
// of the store is a reason to remove the VIP.
package lone

import (
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/observe"
	"github.com/vipd-io/vipd/e2e/testkit/labtest"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var must = labtest.Must

// leaseLine is the line about the lease in the status.
type leaseLine struct {
	Holder          string  `json:"holder"`
	DurationSeconds float64 `json:"durationSeconds"`
	DurationReason  string  `json:"durationReason"`
}

// leaseOf returns the line, or "" while vipd does not serve its status.
func leaseOf(ctx context.Context, n *lab.Node) leaseLine {
	text, _ := n.Run(ctx, n.VipdBinary(), "status", "-o", "json") // the exit status is the health of the VIP
	var s struct{ Lease leaseLine }
	if json.Unmarshal([]byte(text), &s) != nil {
		return leaseLine{}
	}
	return s.Lease
}

// alone waits until vipd knows that there is no other candidate.
func alone(t *testing.T, n *lab.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var last leaseLine
	err := wait.Until(ctx, 100*time.Millisecond, func() (bool, error) {
		last = leaseOf(ctx, n)
		return last == leaseLine{"n1", 40, "alone"}, nil
	})
	if err != nil {
		t.Fatalf("%v: %+v", err, last)
	}
}

// fault prevents the store of a lab from answering, until the context ends.
type fault struct {
	name  string
	lasts time.Duration
	make  func(context.Context, *lab.Lab) error
}

var faults = []fault{
	// With this load, a lease of 3 s expired twice in 40 s: new clients, such as controllers, fetch
	// the OpenAPI document, which is work for the API server.
	{"API server short of CPU, and busy", 30 * time.Second, func(ctx context.Context, l *lab.Lab) error {
		n := l.Nodes[0]
		var g errgroup.Group
		g.Go(func() error { return lab.Throttle(ctx, n.APIServer, 0.2) })
		g.Go(func() error { return lab.Throttle(ctx, n.Etcd, 0.1) })
		g.Go(func() error { return l.SyncStorm(ctx, 6) })
		g.Go(func() error { return n.Overload(ctx, 20) })
		return g.Wait()
	}},
	{"etcd stopped for 28 s", 28 * time.Second, func(ctx context.Context, l *lab.Lab) error {
		if _, err := l.Nodes[0].Etcd.Pause(); err != nil {
			return err
		}
		<-ctx.Done()
		_, err := l.Nodes[0].Etcd.Resume()
		return err
	}},
	{"API server killed, and back after 10 s", 10 * time.Second, func(ctx context.Context, l *lab.Lab) error {
		if _, err := l.Nodes[0].APIServer.Kill(); err != nil {
			return err
		}
		<-ctx.Done()
		return l.Nodes[0].APIServer.Start()
	}},
}

// TestStaysUp: the VIP stays, whatever prevents the store from answering for less than half a
// minute. Each fault has its own lab, and all faults run in parallel.
func TestStaysUp(t *testing.T) {
	bin, err := lab.Build(t.Context(), lab.BuildOptions{Progress: os.Stderr})
	must(t, err)
	release, err := lab.Exclusive(t.Context()) // the disk is busy
	must(t, err)
	defer release()
	var all sync.WaitGroup // t.Parallel would run only as many as there are processors
	for _, f := range faults {
		all.Go(func() {
			t.Run(f.name, func(t *testing.T) {
				l, err := lab.Start(t.Context(), lab.Options{Binaries: bin, Nodes: 1, VIP: netip.MustParseAddr("192.168.35.110")}) // not the default VIP
				must(t, err)
				defer func() { must(t, l.Close()) }()
				must(t, l.Nodes[0].StartVipd())
				f.expectVIP(t, l)
			})
		})
	}
	all.Wait()
}

// expectVIP injects the fault, and expects the VIP to stay.
func (f fault) expectVIP(t *testing.T, l *lab.Lab) {
	t.Helper()
	n := l.Nodes[0]
	alone(t, n)
	watch, err := observe.Outside(l)
	must(t, err)
	seen, err := watch.During(t.Context(), func(ctx context.Context, _ *record.Recorder) error {
		short, cancel := context.WithTimeout(ctx, f.lasts)
		defer cancel()
		if err := f.make(short, l); err != nil {
			return err
		}
		ready, done := context.WithTimeout(ctx, time.Minute)
		defer done()
		return n.WaitReady(ready)
	})
	must(t, err)
	for _, e := range seen.Addresses {
		if !e.Added {
			t.Errorf("the VIP left %s at %s", e.Node, e.At)
		}
	}
	if silent := unanswered(seen); silent > time.Second {
		t.Errorf("no question by ARP was answered for %s", silent)
	}
	t.Logf("the lease afterwards: %+v", leaseOf(t.Context(), n))
}

// unanswered returns the longest time in which no request was answered.
func unanswered(h record.History) (longest time.Duration) {
	answered := make(map[uint32]bool)
	for _, a := range h.Answers {
		answered[a.Seq] = true
	}
	var since record.Time
	for _, p := range h.Probes {
		if answered[p.Seq] || since == 0 {
			since = p.At
		}
		longest = max(longest, p.At.Sub(since))
	}
	return longest
}

package lone

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/observe"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

var flagLoad = flag.Duration("load", 0, "for how long TestBusyForMinutes loads the only node (make nightly)")

// TestBusyForMinutes: while the processors and the disk of the only control-plane node are busy for
// minutes, the VIP never leaves the node, and never falls silent.
func TestBusyForMinutes(t *testing.T) {
	if *flagLoad == 0 {
		t.Skip("takes minutes: make nightly")
	}
	bin, err := lab.Build(t.Context(), lab.BuildOptions{Progress: os.Stderr})
	must(t, err)
	release, err := lab.Exclusive(t.Context())
	must(t, err)
	defer release()
	l, err := lab.Start(t.Context(), lab.Options{Binaries: bin, Nodes: 1, VIP: netip.MustParseAddr("192.168.35.110")}) // not the default VIP
	must(t, err)
	defer func() { must(t, l.Close()) }()
	n := l.Nodes[0]
	must(t, n.StartVipd())
	alone(t, n)
	before := renewals(t, n)
	watch, err := observe.Outside(l)
	must(t, err)
	var direct readyz
	seen, err := watch.During(t.Context(), func(ctx context.Context, _ *record.Recorder) error {
		ctx, cancel := context.WithTimeout(ctx, *flagLoad)
		defer cancel()
		var g errgroup.Group
		g.Go(func() error { return l.Spin(ctx, n.Host, 2) })
		g.Go(func() error { return l.SyncStorm(ctx, 6) })
		g.Go(func() error { return direct.watch(ctx, n) })
		return g.Wait()
	})
	must(t, err)
	if seen.Dropped > 0 {
		t.Fatalf("%d records were dropped, so nothing is proven", seen.Dropped)
	}
	log, err := os.ReadFile(n.Vipd.Log())
	must(t, err)
	lost := strings.Count(string(log), "lease lost")
	left := slices.DeleteFunc(seen.Addresses, func(e record.AddressEvent) bool { return e.Added })
	silent := unanswered(seen)
	t.Logf("the longest time without an answer by ARP: %s; the lease was lost %d times, the VIP left %d times; %d ARP requests, %d answers",
		silent, lost, len(left), len(seen.Probes), len(seen.Answers))
	t.Logf("/readyz of the node's API server: %s", direct.String())
	t.Logf("claims and renewals before: %s; afterwards: %s", before, renewals(t, n))
	t.Logf("the lease afterwards: %+v", leaseOf(t.Context(), n))
	if lost > 0 || len(left) > 0 {
		t.Errorf("the lease was lost %d times, the VIP left %v:\n%s", lost, left, log)
	}
	if silent > time.Second {
		t.Errorf("no request by ARP was answered for %s", silent)
	}
}

// renewals are vipd's counts of claims and renewals.
func renewals(t *testing.T, n *lab.Node) string {
	t.Helper()
	text, err := n.Status(t.Context(), "/metrics")
	must(t, err)
	var out []string
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "vipd_lease_renewals_total"); ok {
			out = append(out, strings.TrimSpace(rest))
		}
	}
	return strings.Join(out, ", ")
}

// readyz is what the API server of a node answered to direct requests.
type readyz struct {
	good, bad int
	longest   time.Duration // without a good answer
}

func (r *readyz) String() string {
	return fmt.Sprintf("%d good answers, %d others, %s without a good one at most", r.good, r.bad, r.longest.Round(time.Millisecond))
}

// watch asks every 100 ms until ctx ends.
func (r *readyz) watch(ctx context.Context, n *lab.Node) error {
	last := record.Now()
	for wait.For(ctx, 100*time.Millisecond) == nil {
		ok, err := n.IsReady(ctx)
		if err != nil {
			return err
		}
		switch now := record.Now(); {
		case ok:
			r.good++
			r.longest, last = max(r.longest, now.Sub(last)), now
		case ctx.Err() == nil:
			r.bad++
			r.longest = max(r.longest, now.Sub(last))
		}
	}
	return nil
}

// Package recovery tests what a control plane goes through when it is lost, repaired or rebuilt:
// faults that take minutes, and not one step of a running cluster. It runs in make nightly only.
package recovery

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/judge/analyse"
	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/observe"
	"github.com/vipd-io/vipd/e2e/testkit/labtest"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

var flagAll = flag.Bool("all", false, "run the tests of this package, which take minutes each (make nightly)")

// binaries are what all labs of the tests need.
var binaries lab.Binaries

func TestMain(m *testing.M) {
	flag.Parse()
	if !*flagAll {
		fmt.Println("make test-recovery runs these tests")
		return
	}
	release, err := prepare(context.Background())
	if err != nil {
		fmt.Fprintf(os.Stderr, "recovery: %v\n", err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		release()
		os.Exit(code)
	}))
}

// prepare builds what the labs need, and waits until no other lab runs.
func prepare(ctx context.Context) (release func(), err error) {
	if binaries, err = lab.Build(ctx, lab.BuildOptions{Progress: os.Stderr}); err != nil {
		return nil, err
	}
	return lab.Exclusive(ctx)
}

var must = labtest.Must

const (
	// length is the duration of the lab's leases.
	length = 3 * time.Second
	// late is by how much a busy machine exceeds a bound, as in package failover: a lease of 3 s that
	// has to run out takes 4.5 s at most.
	late = 1500 * time.Millisecond
	// patience bounds each wait for an event.
	patience = 2 * time.Minute
)

// scene is a lab with vipd on all nodes.
type scene struct {
	*lab.Lab
	t      *testing.T
	holder *lab.Node
	probes map[*lab.Node]*http.Client
}

// stage starts a lab, and waits until a node holds the VIP.
func stage(t *testing.T) *scene {
	t.Helper()
	l, err := lab.Start(t.Context(), lab.Options{Binaries: binaries})
	must(t, err)
	s := &scene{Lab: l, t: t, probes: make(map[*lab.Node]*http.Client)}
	t.Cleanup(s.end)
	must(t, failover.Start(l))
	s.holder, err = failover.Ready(t.Context(), l)
	must(t, err)
	for _, n := range l.Nodes {
		config, err := n.RESTConfig("admin.conf")
		must(t, err)
		config.Timeout = time.Second
		s.probes[n], err = rest.HTTPClientFor(config)
		must(t, err)
	}
	return s
}

// end ends the lab. The logs of a failed test are kept.
func (s *scene) end() {
	if s.t.Failed() {
		dir, err := filepath.Abs(filepath.Join("..", "..", "reports", "recovery-"+s.t.Name()))
		if err == nil {
			err = s.SaveLogs(dir)
		}
		s.t.Logf("logs are in %s: %v", dir, err)
	}
	for _, c := range s.probes {
		utilnet.CloseIdleConnectionsFor(c.Transport)
	}
	if err := s.Close(); err != nil {
		s.t.Error(err)
	}
}

// watch observes the VIP while do acts on the nodes, and judges the record by the rules.
func (s *scene) watch(p record.Promise, do func(context.Context) error) record.Episode {
	s.t.Helper()
	observers, err := observe.ForLab(s.Lab)
	must(s.t, err)
	e := record.Episode{Promise: p, Holder: s.holder.Name}
	e.History, err = observers.During(s.t.Context(), func(ctx context.Context, rec *record.Recorder) error {
		if err := wait.For(ctx, 500*time.Millisecond); err != nil { // the time before the fault
			return err
		}
		e.At = record.Now()
		if err := do(ctx); err != nil {
			return err
		}
		e.End = record.Now()
		have, err := s.Holders()
		for _, n := range have {
			e.Next = strings.TrimPrefix(e.Next+" and "+n.Name, " and ")
		}
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		return wait.Until(ctx, 10*time.Millisecond, func() (bool, error) { return rec.SawLeaseOf(e.End), nil })
	})
	must(s.t, err)
	e.Cluster = s.Cluster()
	verdict, err := analyse.Judge(e)
	must(s.t, err)
	for _, v := range verdict.Violations {
		s.t.Error(v)
	}
	if verdict.Unproven != "" { // these steps cannot be repeated in this lab
		s.t.Logf("nothing is proven: %s", verdict.Unproven)
	}
	if len(verdict.Gaps) > 0 {
		s.t.Logf("not observed: %s", analyse.Sum(verdict.Gaps))
	}
	s.t.Logf("unreachable for %v; %v held", analyse.Measure(e).Unreachable, holders(e.History))
	return e
}

// ready tells whether the node's API server says that it is ready.
func (s *scene) ready(ctx context.Context, n *lab.Node) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d/readyz", lab.Port), nil)
	if err != nil {
		return false
	}
	resp, err := s.probes[n].Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// firstReady waits until one of the API servers is ready, and returns the time just before it said
// so.
func (s *scene) firstReady(ctx context.Context, nodes ...*lab.Node) (at record.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = wait.Until(ctx, 20*time.Millisecond, func() (bool, error) {
		for _, n := range nodes {
			if at = record.Now(); s.ready(ctx, n) {
				return true, nil
			}
		}
		return false, nil
	})
	return at, err
}

// reachable waits until a client reaches the VIP.
func (s *scene) reachable(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return wait.Until(ctx, 10*time.Millisecond, func() (bool, error) { return s.Reachable(ctx), nil })
}

// move makes a node the holder.
func (s *scene) move(to *lab.Node) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	must(s.t, wait.Until(ctx, 500*time.Millisecond, func() (bool, error) {
		holder, err := failover.Ready(ctx, s.Lab)
		if s.holder = holder; err != nil || holder == to {
			return err == nil, err
		}
		_, _ = to.Run(ctx, to.VipdBinary(), "move", "--kubeconfig", to.Kubeconfig(), "--to", to.Name) // refused while the holder has not seen the other server ready
		return false, nil
	}))
}

// others returns the nodes that are not the given one.
func (s *scene) others(than *lab.Node) (nodes []*lab.Node) {
	for _, n := range s.Nodes {
		if n != than {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// leaveEtcd removes the members of nodes from etcd, and ends their API servers, which have no other
// member. It waits until a node holds the VIP.
func (s *scene) leaveEtcd(via *lab.Node, nodes ...*lab.Node) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	for _, n := range nodes {
		_, err := n.APIServer.Kill()
		must(s.t, err)
		must(s.t, wait.Until(ctx, time.Second, func() (bool, error) { // refused while etcd elects a leader
			return n.RemoveFromEtcd(ctx, via) == nil, nil
		}))
		if _, err := n.Etcd.Kill(); err != nil && !errors.Is(err, lab.ErrNotRunning) { // a removed member ends by itself
			s.t.Fatal(err)
		}
	}
	_, err := s.firstReady(ctx, via)
	must(s.t, err)
	s.holder, err = failover.Ready(ctx, s.Lab)
	must(s.t, err)
}

// boot starts the programs of a node that was off, and its API server again whenever that ends, as
// a kubelet does: an API server without etcd ends after a while.
func boot(ctx context.Context, n *lab.Node) error {
	for _, start := range []func() error{n.LinkUp, n.Etcd.Start, n.APIServer.Start, n.Vipd.Start} {
		if err := start(); err != nil {
			return fmt.Errorf("boot %s: %w", n.Name, err)
		}
	}
	keepUp(ctx, n)
	return nil
}

// keepUp starts the node's API server a second after each end, until ctx ends.
func keepUp(ctx context.Context, n *lab.Node) {
	go func() {
		for {
			select {
			case <-n.APIServer.Done():
			case <-ctx.Done():
				return
			}
			if wait.For(ctx, time.Second) != nil || n.APIServer.Start() != nil {
				return
			}
		}
	}()
}

// holders returns the holders in their order.
func holders(h record.History) (names []string) {
	for _, v := range written(h) {
		if v.Holder != "" && (len(names) == 0 || names[len(names)-1] != v.Holder) {
			names = append(names, v.Holder)
		}
	}
	return names
}

// written returns the versions of the Lease in the order of their writes: a watch may deliver late.
func written(h record.History) []record.LeaseVersion {
	return slices.SortedStableFunc(slices.Values(analyse.Versions(h.Leases)), func(a, b record.LeaseVersion) int { return cmp.Compare(a.Sent, b.Sent) })
}

// served returns when the first request that was sent at or after a time was answered.
func served(h record.History, from record.Time) (at record.Time, ok bool) {
	for _, r := range h.Requests {
		if r.OK() && r.Start >= from && (!ok || r.End < at) {
			at, ok = r.End, true
		}
	}
	return at, ok
}

// answered is the longest time from the send of a write that its holder counts on to the delivery of
// the version: etcd without a quorum commits a write when it has one again, and the holder has long
// given that write up.
const answered = time.Second

// lastLease returns the last version of the Lease that was written before a time, and committed
// soon.
func lastLease(h record.History, before record.Time) (last record.LeaseVersion) {
	for _, v := range written(h) {
		if v.Sent < before && v.At.Sub(v.Sent) < answered {
			last = v
		}
	}
	return last
}

// within fails the test if a client got no answer within the lease that was the last one before, and
// some time more.
func within(t *testing.T, h record.History, from record.Time, more time.Duration, since string) {
	t.Helper()
	bound := max(length, time.Duration(lastLease(h, from).Seconds)*time.Second) + more
	at, ok := served(h, from)
	if took := at.Sub(from); !ok || took > bound {
		t.Errorf("the VIP answered %v after %s (%t), want at most %v", took, since, ok, bound)
	} else {
		t.Logf("the VIP answered %v after %s, at most %v", took, since, bound)
	}
}

package failover_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/vipd-io/vipd/e2e/analyse"
	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/observe"
	"github.com/vipd-io/vipd/e2e/record"
)

// observed runs fn under observation with a holder at rest, asserts that no two
// nodes answered, and returns what was seen.
func observed(t *testing.T, fn func(ctx context.Context, holder *lab.Node) error) (*lab.Node, record.History) {
	t.Helper()
	holder, err := failover.Ready(t.Context(), shared)
	must(t, err)
	observers, err := observe.ForLab(shared)
	must(t, err)
	var from, to record.Time
	h, err := observers.During(t.Context(), func(ctx context.Context, _ *record.Recorder) error {
		from = record.Now()
		defer func() { to = record.Now() }()
		return fn(ctx, holder)
	})
	must(t, err)
	must(t, analyse.Enough(h, from, to))
	for _, v := range analyse.Overlap(h.Answers) {
		t.Errorf("two nodes answered at once: %v", v)
	}
	return holder, h
}

// whole is a time in which a wrong takeover would have happened: more than the
// lease.
const whole = 4 * time.Second

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestDamagedLease edits the Lease of a living holder into nonsense, in every
// way that a real API server lets through. Nobody may notice.
func TestDamagedLease(t *testing.T) {
	edit := func(change func(*coordinationv1.Lease)) func(context.Context, *lab.Node) error {
		return func(ctx context.Context, n *lab.Node) error { return n.EditLease(ctx, change) }
	}
	damages := []struct {
		name string
		do   func(context.Context, *lab.Node) error
	}{
		{"deleted", func(ctx context.Context, n *lab.Node) error { return n.DeleteLease(ctx) }},
		{"holder blanked", edit(func(l *coordinationv1.Lease) { l.Spec.HolderIdentity = nil })},
		{"emptied", edit(func(l *coordinationv1.Lease) { l.Spec = coordinationv1.LeaseSpec{} })},
		{"annotation nonsense", edit(func(l *coordinationv1.Lease) { l.Annotations["vipd.io/holder"] = `{"holder":[` })},
		{"duration huge", edit(func(l *coordinationv1.Lease) { l.Spec.LeaseDurationSeconds = new(int32(1<<31 - 1)) })},
		{"term huge", edit(func(l *coordinationv1.Lease) { l.Spec.LeaseTransitions = new(int32(1<<31 - 1)) })},
		{"times in the future", edit(func(l *coordinationv1.Lease) {
			at := metav1.NewMicroTime(time.Now().AddDate(50, 0, 0))
			l.Spec.RenewTime, l.Spec.AcquireTime = &at, &at
		})},
	}
	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			holder, h := observed(t, func(ctx context.Context, n *lab.Node) error {
				if err := d.do(ctx, n); err != nil {
					return err
				}
				return wait(ctx, whole)
			})
			if failed := slices.DeleteFunc(h.Requests, record.Request.OK); len(failed) > 0 {
				t.Errorf("%d requests failed, the first: %+v", len(failed), failed[0])
			}
			now, err := failover.Ready(t.Context(), shared)
			must(t, err)
			if now != holder {
				t.Errorf("the VIP moved from %s to %s", holder.Name, now.Name)
			}
			l, err := now.Lease(t.Context())
			must(t, err)
			if *l.Spec.HolderIdentity != holder.Name || *l.Spec.LeaseDurationSeconds != 3 {
				t.Errorf("the lease was not put right: %+v", l.Spec)
			}
		})
	}
}

// TestStolenLease writes somebody else's name, and this node's name from another
// machine, over a living holder's record: it falls silent at once, and the VIP
// comes back when the thief's lease is over.
func TestStolenLease(t *testing.T) {
	thefts := []struct {
		name string
		edit func(*coordinationv1.Lease)
	}{
		{"by a stranger", func(l *coordinationv1.Lease) {
			l.Spec.HolderIdentity, l.Spec.LeaseTransitions = new("stranger"), new(*l.Spec.LeaseTransitions+1)
		}},
		{"by a namesake", func(l *coordinationv1.Lease) {
			l.Annotations["vipd.io/holder"] = fmt.Sprintf(`{"holder":%q,"term":%d,"leaseDurationSeconds":3,"mac":"02:ff:ff:ff:ff:ff","bootID":"b"}`,
				*l.Spec.HolderIdentity, *l.Spec.LeaseTransitions)
		}},
	}
	for _, theft := range thefts {
		t.Run(theft.name, func(t *testing.T) {
			var at record.Time
			_, h := observed(t, func(ctx context.Context, n *lab.Node) error {
				at = record.Now()
				if err := n.EditLease(ctx, theft.edit); err != nil {
					return err
				}
				if err := wait(ctx, whole); err != nil {
					return err
				}
				_, err := failover.Ready(ctx, shared)
				return err
			})
			out := analyse.Outage(h.Requests, at, at.Add(whole))
			t.Logf("unreachable for %v", out)
			if out < 2*time.Second {
				t.Errorf("unreachable for %v only: the thief's lease of 3s was not respected", out)
			}
		})
	}
}

// TestAlongsideClientGo has client-go's own elector, as kube-vip uses it, on the
// same Lease of a real API server: one holder at any time, both ways round.
func TestAlongsideClientGo(t *testing.T) {
	holder, err := failover.Ready(t.Context(), shared)
	must(t, err)
	led, released := make(chan struct{}), make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	le := elector(t, holder, func() { close(led) })
	go func() { defer close(done); le.Run(ctx) }()
	defer func() { stop(); <-done }()

	must(t, wait(t.Context(), 2*whole))
	select {
	case <-led:
		t.Fatal("client-go's elector took the lease of a living holder")
	default:
	}
	// All vipds release; then it is client-go's turn.
	for _, n := range shared.Nodes {
		_, err := n.Vipd.Stop(5 * time.Second)
		must(t, err)
	}
	select {
	case <-led:
	case <-time.After(20 * time.Second):
		t.Fatal("client-go's elector did not take a released lease")
	}
	must(t, failover.Start(shared))
	must(t, wait(t.Context(), 2*whole))
	for _, n := range shared.Nodes {
		if addrs, err := n.Addresses(); err != nil || slices.Contains(addrs, lab.VIP) {
			t.Errorf("%s: addresses %v, %v while client-go's elector holds the lease", n.Name, addrs, err)
		}
	}
	go func() { stop(); <-done; close(released) }() // releases, without a mark
	<-released
	_, err = failover.Ready(t.Context(), shared)
	must(t, err)
}

// elector is client-go's, with kube-vip's timing.
func elector(t *testing.T, n *lab.Node, led func()) *leaderelection.LeaderElector {
	t.Helper()
	config, err := n.RESTConfig("admin.conf")
	must(t, err)
	client, err := coordinationclient.NewForConfig(config)
	must(t, err)
	le, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{LeaseMeta: metav1.ObjectMeta{Namespace: lab.LeaseNamespace, Name: lab.LeaseName},
			Client: client, LockConfig: resourcelock.ResourceLockConfig{Identity: "kube-vip"}},
		LeaseDuration: 5 * time.Second, RenewDeadline: 3 * time.Second, RetryPeriod: time.Second, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: func(context.Context) { led() }, OnStoppedLeading: func() {}},
	})
	must(t, err)
	return le
}

// TestMoveThroughTheLease: without vipd's command, and with it where it cannot be.
func TestMoveThroughTheLease(t *testing.T) {
	holder, err := failover.Ready(t.Context(), shared)
	must(t, err)
	out, err := holder.Run(t.Context(), holder.VipdBinary(), "move", "--kubeconfig", holder.Kubeconfig(), "--to", "n9")
	if want := `the holder refuses: no control-plane node "n9" is known beside this one`; err == nil || !strings.Contains(err.Error()+out, want) {
		t.Errorf("vipd move --to n9: %v, %s, want %q", err, out, want)
	}
	must(t, holder.EditLease(t.Context(), func(l *coordinationv1.Lease) { l.Annotations["vipd.io/move"] = "*" }))
	for next := holder; next == holder; {
		next, err = failover.Ready(t.Context(), shared)
		must(t, err)
	}
}

// TestLosesAFight has a program on the holder take the address away again and
// again. vipd puts it back a few times a second, and then leaves it to another
// node.
func TestLosesAFight(t *testing.T) {
	_, h := observed(t, func(ctx context.Context, n *lab.Node) error {
		for {
			if err := n.RemoveAddress(lab.VIP); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
				return err
			}
			for _, other := range shared.Nodes {
				addrs, err := other.Addresses()
				if err != nil {
					return err
				}
				if other != n && slices.Contains(addrs, lab.VIP) {
					return nil
				}
			}
			if err := wait(ctx, 10*time.Millisecond); err != nil {
				return err
			}
		}
	})
	added := make(map[string]int)
	for _, e := range h.Addresses {
		if e.Added {
			added[e.Node]++
		}
	}
	t.Logf("added: %v", added)
	for node, n := range added {
		if n > 40 { // five times a second for five seconds, and with each renewal
			t.Errorf("%s put the address up %d times", node, n)
		}
	}
}

// TestLeavesNothingBehind stops all vipds and compares each node with what it
// was before vipd ever ran: its own address, no nftables table, nobody's lease.
func TestLeavesNothingBehind(t *testing.T) {
	_, err := failover.Ready(t.Context(), shared)
	must(t, err)
	for _, n := range shared.Nodes {
		begin := time.Now()
		_, err := n.Vipd.Stop(5 * time.Second)
		must(t, err)
		state, err := n.Vipd.Wait(t.Context())
		must(t, err)
		t.Logf("%s ended after %v: %v", n.Name, time.Since(begin), state)
		if !state.Success() {
			t.Errorf("%s: exit status %d", n.Name, state.ExitCode())
		}
	}
	for _, n := range shared.Nodes {
		addrs, err := n.Addresses()
		must(t, err)
		if !slices.Equal(addrs, []netip.Addr{n.IP}) {
			t.Errorf("%s: addresses %v, want %v alone", n.Name, addrs, n.IP)
		}
		tables, err := n.Tables()
		must(t, err)
		if len(tables) > 0 {
			t.Errorf("%s: nftables tables %v", n.Name, tables)
		}
	}
	who, err := shared.Nodes[0].Holder(t.Context())
	must(t, err)
	if who != "" {
		t.Errorf("the lease names %q", who)
	}
	must(t, failover.Start(shared))
}

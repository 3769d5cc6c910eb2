package chaos

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/judge/analyse"
	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/observe"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// whole is long enough for a wrong takeover: longer than the lease of client-go's elector and of
// vipd beside kube-vip, and one attempt of that elector.
const whole = 6500 * time.Millisecond

// TestAlongsideClientGo runs client-go's own elector, as kube-vip uses it, on the same Lease of a
// real API server. There is one holder at any time, in both directions of the change.
func TestAlongsideClientGo(t *testing.T) {
	holder, err := failover.Ready(t.Context(), shared)
	must(t, err)
	observers, err := observe.ForLab(shared)
	must(t, err)
	led := make(chan record.Time, 1)
	le := elector(t, holder, "kube-vip", func() { led <- record.Now() })
	var from, to record.Time // the time in which client-go's elector led
	seen, err := observers.During(t.Context(), func(ctx context.Context, _ *record.Recorder) (err error) {
		if from, to, err = takeTurns(ctx, le, led); err != nil {
			return err
		}
		_, err = failover.Ready(ctx, shared)
		return err
	})
	must(t, err)
	if from == 0 || to < from.Add(whole) {
		t.Fatalf("client-go's elector led from %v to %v: nothing was tried", from, to)
	}
	e := record.Episode{Cluster: shared.Cluster(), At: seen.Probes[0].At, End: record.Now(), History: seen}
	for _, v := range analyse.Alongside(e, "kube-vip", from, to) {
		t.Error(v)
	}
	if before := analyse.Answering(seen.Answers, seen.Probes[0].At, from); before[holder.MAC.String()] == 0 {
		t.Errorf("answers before client-go's elector led: %v, want those of %s: nothing was observed", before, holder.Name)
	}
	if gaps := analyse.Unobserved(seen, seen.Probes[0].At, to); len(gaps) > 0 {
		t.Logf("not observed: %s", analyse.Sum(gaps))
	}
}

// takeTurns makes vipd hold the Lease, then client-go's elector, which then releases the Lease. It
// returns the time in which that elector led: from its report until just before it is told to end.
func takeTurns(ctx context.Context, le *leaderelection.LeaderElector, led <-chan record.Time) (from, to record.Time, err error) {
	electing, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); le.Run(electing) }()
	defer func() { stop(); <-done }() // the elector releases without a mark

	if err := wait.For(ctx, whole); err != nil {
		return 0, 0, err
	}
	select {
	case at := <-led:
		return 0, 0, fmt.Errorf("client-go's elector took the lease of a living holder at %v", at)
	default:
	}
	// All vipds release the Lease; then client-go's elector can claim it.
	for _, n := range shared.Nodes {
		if _, err := lab.StopNow(n.Vipd, 5*time.Second); err != nil {
			return 0, 0, err
		}
	}
	select {
	case from = <-led:
	case <-time.After(20 * time.Second):
		err = errors.New("client-go's elector did not take a released lease")
	}
	err = errors.Join(err, failover.Start(shared), wait.For(ctx, whole))
	return from, record.Now(), err
}

// elector is client-go's elector, with kube-vip's timing.
func elector(t *testing.T, n *lab.Node, identity string, led func()) *leaderelection.LeaderElector {
	t.Helper()
	config, err := n.RESTConfig("admin.conf")
	must(t, err)
	client, err := coordinationclient.NewForConfig(config)
	must(t, err)
	le, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{LeaseMeta: metav1.ObjectMeta{Namespace: lab.LeaseNamespace, Name: lab.LeaseName},
			Client: client, LockConfig: resourcelock.ResourceLockConfig{Identity: identity}},
		LeaseDuration: 5 * time.Second, RenewDeadline: 3 * time.Second, RetryPeriod: time.Second, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: func(context.Context) { led() }, OnStoppedLeading: func() {}},
	})
	must(t, err)
	return le
}

// TestMoveThroughTheLease: a move by an edit of the Lease, without vipd's command, and a move by
// the command from a machine outside the nodes.
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

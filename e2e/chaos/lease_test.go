package chaos

import (
	"context"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/wait"
)

// whole is a time in which a wrong takeover would have happened: more than the
// lease.
const whole = 4 * time.Second

// TestAlongsideClientGo has client-go's own elector, as kube-vip uses it, on the
// same Lease of a real API server: one holder at any time, both ways round.
func TestAlongsideClientGo(t *testing.T) {
	holder, err := failover.Ready(t.Context(), shared)
	must(t, err)
	led, released := make(chan struct{}), make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	le := elector(t, holder, "kube-vip", func() { close(led) })
	go func() { defer close(done); le.Run(ctx) }()
	defer func() { stop(); <-done }()

	must(t, wait.For(t.Context(), 2*whole))
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
	must(t, wait.For(t.Context(), 2*whole))
	for _, n := range shared.Nodes {
		if has, err := n.Has(lab.VIP); err != nil || has {
			t.Errorf("%s has the VIP: %t, %v while client-go's elector holds the lease", n.Name, has, err)
		}
	}
	go func() { stop(); <-done; close(released) }() // releases, without a mark
	<-released
	_, err = failover.Ready(t.Context(), shared)
	must(t, err)
}

// elector is client-go's, with kube-vip's timing.
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

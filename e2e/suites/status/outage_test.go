package status

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// TestHolderThatDoesNotAnswer: a standby that the holder's answers do not reach says so for as long as
// that lasts, with its problems, its exit status and its metric; also if its vipd is started into
// the outage. The doctor there names the holder.
func TestHolderThatDoesNotAnswer(t *testing.T) {
	holder, err := failover.Ready(t.Context(), shared)
	must(t, err)
	n := other(holder)
	healthy(t, n)
	deaf(t, n, holder)
	says(t, n)
	if text, err := n.Run(t.Context(), n.VipdBinary(), "doctor"); err == nil || !strings.Contains(text, " holds the Lease and renews it, and no machine answers") {
		t.Errorf("vipd doctor on %s: %v, and %s", n.Name, err, text)
	}
	_, err = n.Vipd.Stop(5 * time.Second)
	must(t, err)
	must(t, n.StartVipd())
	says(t, n)
	hears(t.Context(), t, n)
	healthy(t, n)
	if o := metrics(t, n)["vipd_outage_seconds"]; o != 0 {
		t.Errorf("vipd_outage_seconds %v after the outage", o)
	}
}

// says waits until a node says that the VIP does not answer.
func says(t *testing.T, n *lab.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), settled)
	defer cancel()
	want := "the VIP has not answered " + n.Name
	var d Document
	err := wait.Until(ctx, 100*time.Millisecond, func() (bool, error) {
		d, _ = Read[Document](ctx, n, "/status") // one that is started anew is not there yet
		return strings.Contains(strings.Join(d.Problems, "\n"), want), nil
	})
	if err != nil || d.Health != "degraded" || !strings.Contains(strings.Join(d.Problems, "\n"), d.Lease.Holder+" holds the lease") {
		t.Fatalf("%v: %s says %+v", err, n.Name, d)
	}
	if text, err := n.Run(t.Context(), n.VipdBinary(), "status"); err == nil || !strings.Contains(text, want) {
		t.Errorf("vipd status on %s: %v, and %s", n.Name, err, text)
	}
	if o := metrics(t, n)["vipd_outage_seconds"]; o < 3 {
		t.Errorf("vipd_outage_seconds is %v on %s", o, n.Name)
	}
}

// TestTwoNodesDoNotReachTheHolder: a holder that two nodes do not reach hands over to one of them,
// and the next holder stays, although two nodes do not reach it either.
func TestTwoNodesDoNotReachTheHolder(t *testing.T) {
	first, err := failover.Ready(t.Context(), shared)
	must(t, err)
	for _, n := range without(first) {
		healthy(t, n)
		deaf(t, n, first)
	}
	term := awaitLease(t, first, func(l *coordinationv1.Lease) bool {
		return *l.Spec.HolderIdentity != "" && *l.Spec.HolderIdentity != first.Name
	})
	left(t, first, "do not reach the VIP on this node")
	second, err := failover.Ready(t.Context(), shared)
	must(t, err)
	for _, n := range shared.Nodes {
		healthy(t, n)
	}
	for _, n := range without(second) {
		deaf(t, n, second)
	}
	reports, renewals := make(map[string]bool), 0
	if last := awaitLease(t, second, func(l *coordinationv1.Lease) bool {
		for _, n := range without(second) {
			reports[n.Name] = reports[n.Name] || strings.Contains(l.Annotations["vipd.io/unreached"], n.Name)
		}
		if reports[first.Name] && len(reports) == 2 && !slices.Contains(slices.Collect(maps.Values(reports)), false) {
			renewals++
		}
		return renewals == 5 || int(*l.Spec.LeaseTransitions) != term
	}); last != term {
		t.Errorf("the VIP went from %s in term %d to term %d", second.Name, term, last)
	}
	for _, n := range without(second) {
		says(t, n)
	}
}

// awaitLease watches the Lease by a node's API server until a version is as wanted, and returns the
// term of that version.
func awaitLease(t *testing.T, by *lab.Node, wanted func(*coordinationv1.Lease) bool) (term int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), settled)
	defer cancel()
	leases, err := by.Leases()
	must(t, err)
	for ctx.Err() == nil { // the client ends each watch after its timeout
		w, err := leases.Watch(ctx, metav1.ListOptions{})
		must(t, err)
		for e := range w.ResultChan() {
			l, ok := e.Object.(*coordinationv1.Lease)
			if ok && l.Name == lab.LeaseName && wanted(l) {
				w.Stop()
				return int(*l.Spec.LeaseTransitions)
			}
		}
	}
	t.Fatal("the Lease did not come to be as wanted")
	return 0
}

// left waits until the history of a node says that the node left the VIP, and why. The history says so
// when the addresses are gone, which may be after the next holder's claim.
func left(t *testing.T, n *lab.Node, why string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), settled)
	defer cancel()
	var h History
	err := wait.Until(ctx, 50*time.Millisecond, func() (found bool, err error) {
		h, err = Read[History](ctx, n, "/history")
		return strings.HasSuffix(causeOf(h, "left"), why), err
	})
	if err != nil {
		t.Errorf("wait for %q in the history of %s: %v; there is %+v", why, n.Name, err, h.Changes)
	}
}

// causeOf returns the cause of the last change of a kind, "" for none.
func causeOf(h History, kind string) string {
	for _, c := range h.Changes { // the last first
		if c.Kind == kind {
			return c.Cause
		}
	}
	return ""
}

func without(n *lab.Node) (others []*lab.Node) {
	return slices.DeleteFunc(slices.Clone(shared.Nodes), func(o *lab.Node) bool { return o == n })
}

// deaf drops what a machine says about the VIP by ARP before it gets to a node, until the end of
// the test.
func deaf(t *testing.T, n, holder *lab.Node) {
	t.Helper()
	t.Cleanup(func() { hears(context.WithoutCancel(t.Context()), t, n) })
	_, err := n.Run(t.Context(), "nft", fmt.Sprintf("add table netdev lab; delete table netdev lab; add table netdev lab; add chain netdev lab in { type filter hook ingress device %s priority 0; }; "+
		"add rule netdev lab in arp saddr ether %s arp saddr ip %s drop", lab.Interface, holder.MAC, shared.VIP))
	must(t, err)
	_, err = n.Run(t.Context(), "ip", "neighbour", "flush", "to", shared.VIP.String())
	must(t, err)
}

func hears(ctx context.Context, t *testing.T, n *lab.Node) {
	t.Helper()
	_, err := n.Run(ctx, "nft", "add table netdev lab; delete table netdev lab")
	must(t, err)
}

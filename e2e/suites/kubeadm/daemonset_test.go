package kubeadm_test

import (
	"testing"

	"github.com/vipd-io/vipd/e2e/kubeadm"
)

// testDaemonSet puts the DaemonSet in place of the static pods, and takes it away again. A rollout
// moves the VIP three times at most: away from the holder, and away from the node that is preferred
// as the next one, to the second one, whose pod may be old as well.
func testDaemonSet(t *testing.T, c *kubeadm.Cluster) {
	t.Helper()
	for _, f := range c.DaemonSetFaults() {
		before := terms(t, c)
		whole := false
		t.Run(f.Name, func(t *testing.T) { whole = testFault(t, c, f) })
		if !whole {
			return
		}
		moves := terms(t, c) - before
		t.Logf("%s: %d terms", f.Title, moves)
		if f.Name == "daemonsetrolled" && (moves < 1 || moves > 3) {
			t.Errorf("a rollout moved the VIP %d times", moves)
		}
	}
	t.Run("daemonsetremoved", func(t *testing.T) {
		if err := c.RemoveDaemonSet(t.Context()); err != nil {
			t.Fatal(err)
		}
		traces, err := c.Traces(t.Context())
		if err != nil || len(traces) > 0 {
			t.Errorf("after the DaemonSet: %v, %v", traces, err)
		}
	})
}

// terms returns the term of the Lease.
func terms(t *testing.T, c *kubeadm.Cluster) int {
	t.Helper()
	lease, err := c.Nodes[0].Lab.Lease(t.Context())
	if err != nil || lease.Spec.LeaseTransitions == nil {
		t.Fatalf("read the Lease: %v", err)
	}
	return int(*lease.Spec.LeaseTransitions)
}

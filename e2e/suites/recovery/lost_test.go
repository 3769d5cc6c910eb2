package recovery

import (
	"context"
	"testing"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// mends is how long a VIP may take to be back, beyond one lease, once an administrator has repaired
// etcd.
const mends = 3 * time.Second

// TestMajorityLost: two nodes, of which one held the VIP, are off for good, and an administrator
// makes the third etcd member a cluster of its own. The VIP comes back without a restart of vipd.
func TestMajorityLost(t *testing.T) {
	s := stage(t)
	n := s.Nodes[0]
	s.move(s.Nodes[1])
	vipd := n.Vipd.Pid()
	var repaired, ready record.Time
	e := s.watch(record.Promise{Name: "lost", Title: "majority lost", MayMove: true, Crippled: true, Within: patience}, func(ctx context.Context) error {
		for _, off := range s.others(n) {
			if _, err := off.PowerOff(); err != nil {
				return err
			}
		}
		keepUp(ctx, n)
		if err := wait.For(ctx, 30*time.Second); err != nil { // an administrator needs longer
			return err
		}
		repaired = record.Now()
		if err := n.ForceNewEtcd(); err != nil {
			return err
		}
		var err error
		if ready, err = s.firstReady(ctx, n); err != nil {
			return err
		}
		if err := s.reachable(ctx); err != nil {
			return err
		}
		return wait.For(ctx, 10*time.Second) // and it stays
	})
	t.Logf("API server ready %v after the start of etcd", ready.Sub(repaired))
	within(t, e.History, ready, mends, "the API server was ready")
	if e.Next != n.Name || !n.Vipd.Running() || n.Vipd.Pid() != vipd {
		t.Errorf("the VIP is on %q, vipd is process %d, running=%t; want %s and still %d", e.Next, n.Vipd.Pid(), n.Vipd.Running(), n.Name, vipd)
	}
}

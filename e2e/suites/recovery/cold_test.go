package recovery

import (
	"context"
	"testing"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// TestPowerCut: all nodes lose their power, and come back one after the other. The VIP is back one
// lease after etcd has a quorum: the Lease of before the cut, which names a holder, costs that lease
// and no more. kubelets need the VIP to reach the API, and so must not be needed for it.
func TestPowerCut(t *testing.T) {
	s := stage(t)
	first, second, third := s.Nodes[2], s.Nodes[1], s.Nodes[0]
	s.move(third) // so that the Lease names a node that is off
	var quorum record.Time
	e := s.watch(record.Promise{Name: "powercut", Title: "all nodes off", MayMove: true, Crippled: true, Within: 10 * time.Minute}, func(ctx context.Context) error {
		for _, n := range s.Nodes {
			if _, err := n.PowerOff(); err != nil {
				return err
			}
		}
		if err := boot(ctx, first); err != nil {
			return err
		}
		if err := wait.For(ctx, time.Minute); err != nil {
			return err
		}
		if err := boot(ctx, second); err != nil {
			return err
		}
		var err error
		if quorum, err = s.firstReady(ctx, first, second); err != nil {
			return err
		}
		if err := s.reachable(ctx); err != nil {
			return err
		}
		if err := boot(ctx, third); err != nil {
			return err
		}
		if _, err := s.firstReady(ctx, third); err != nil {
			return err
		}
		return wait.For(ctx, 10*time.Second)
	})
	within(t, e.History, quorum, late, "the first API server was ready")
	if got := holders(e.History); len(got) != 2 || got[0] != third.Name {
		t.Errorf("%v held the lease, want %s before the power cut, and one node after it", got, third.Name)
	}
}

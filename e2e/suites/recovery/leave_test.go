package recovery

import (
	"context"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// TestHolderLeavesTheCluster: a holder that is drained out of the cluster, as Cluster API does, is
// cordoned, and loses its API server and its etcd member at the same moment. Its vipd runs on. The
// VIP moves once, and never back.
func TestHolderLeavesTheCluster(t *testing.T) {
	s := stage(t)
	e := s.watch(record.Promise{Name: "leave", Title: "holder leaves the cluster", Moves: true, Within: length + late}, func(ctx context.Context) error {
		var g errgroup.Group
		g.Go(func() error { return s.holder.Cordon(ctx, true) })
		g.Go(func() error { return s.holder.RemoveFromEtcd(ctx, s.others(s.holder)[0]) })
		g.Go(func() error {
			_, err := s.holder.APIServer.Signal(syscall.SIGTERM)
			return err
		})
		if err := g.Wait(); err != nil {
			return err
		}
		return wait.For(ctx, time.Minute) // long enough for a VIP to come back
	})
	if got := holders(e.History); len(got) != 2 || got[0] != e.Holder || got[1] != e.Next {
		t.Errorf("%v held the lease, want %s, and then %s for good", got, e.Holder, e.Next)
	}
	for _, a := range e.History.Addresses {
		if a.Added && a.Node == e.Holder && a.At > taken(e.History, e.Next) {
			t.Errorf("the VIP came back to %s at %v", e.Holder, a.At)
		}
	}
}

// taken returns when a node first wrote the Lease as its holder.
func taken(h record.History, node string) record.Time {
	for _, v := range written(h) {
		if v.Holder == node {
			return v.Sent
		}
	}
	return 0
}

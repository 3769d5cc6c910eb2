package recovery

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// TestSecondMember: etcd has one member, and has no quorum from the addition of a second member until
// that member has started, as while kubeadm joins a node. The VIP may be dark from the deadline of
// the last renewal until the quorum and one lease, and vipd names etcd as the reason.
func TestSecondMember(t *testing.T) {
	s := stage(t)
	n, second := s.Nodes[0], s.Nodes[1]
	s.leaveEtcd(n, s.others(n)...)
	if s.holder != n {
		t.Fatalf("%s has the VIP, want it on %s, which alone has an API server", s.holder.Name, n.Name)
	}
	var quorum record.Time
	var said string
	e := s.watch(record.Promise{Name: "grow", Title: "a second etcd member", MayMove: true, Within: patience}, func(ctx context.Context) error {
		if err := wait.For(ctx, length); err != nil { // for renewals to be seen
			return err
		}
		if err := second.AddToEtcd(ctx, n); err != nil {
			return err
		}
		if err := wait.For(ctx, 12*time.Second); err != nil {
			return err
		}
		said, _ = n.Run(ctx, n.VipdBinary(), "status") // the exit status is the health of the VIP
		if err := wait.For(ctx, 3*time.Second); err != nil {
			return err
		}
		if err := second.JoinEtcd(n); err != nil {
			return err
		}
		var err error
		if quorum, err = s.firstReady(ctx, n); err != nil {
			return err
		}
		if err := second.APIServer.Start(); err != nil {
			return err
		}
		if _, err := s.firstReady(ctx, second); err != nil {
			return err
		}
		return wait.For(ctx, 10*time.Second)
	})
	until, gone := deadline(lastLease(e.History, quorum)), lastServed(e.History, quorum)
	t.Logf("deadline %v, last answer before the quorum %v, quorum %v", until, gone, quorum)
	if until < e.At || gone < until.Add(-100*time.Millisecond) {
		t.Errorf("the VIP was dark from %v on, %v before the deadline %v", gone, until.Sub(gone), until)
	}
	within(t, e.History, quorum, late, "etcd had a quorum")
	if !strings.Contains(said, "not ready: etcd") {
		t.Errorf("vipd status does not name etcd:\n%s", said)
	}
	t.Logf("vipd status:\n%s", said)
}

// deadline returns until when the holder had to answer: the end of a lease, less the margin
// (docs/architecture.md, "The arithmetic").
func deadline(l record.LeaseVersion) record.Time {
	lease := time.Duration(l.Seconds) * time.Second
	return l.Sent.Add(lease - lease*11/100 - 20*time.Millisecond)
}

// lastServed returns when the last request was answered before a time.
func lastServed(h record.History, before record.Time) (at record.Time) {
	for _, r := range h.Requests {
		if r.OK() && r.End < before {
			at = max(at, r.End)
		}
	}
	return at
}

package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// nobody waits until no node has the VIP.
func (s *Site) nobody(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return wait.Until(ctx, 50*time.Millisecond, func() (bool, error) {
		have, err := s.Holders()
		return len(have) == 0, err
	})
}

// settle waits until the doctor finds nothing any more, and every vipd is ready.
func (s *Site) settle(ctx context.Context) error {
	if _, err := failover.Ready(ctx, s.Lab); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for _, n := range s.Nodes {
		var last error
		err := wait.Until(ctx, 50*time.Millisecond, func() (bool, error) {
			_, last = n.Status(ctx, "/readyz")
			return last == nil, nil
		})
		if err != nil {
			return fmt.Errorf("wait until vipd on %s is ready: %w: %w", n.Name, err, last)
		}
	}
	return nil
}

// shortLease waits until the Lease has the length that the holder is set to: while the store is slow, the
// holder lengthens the Lease, and the doctor compares no lengths.
func (s *Site) shortLease(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	const usual = 3 // seconds, the default profile
	err := wait.Until(ctx, 50*time.Millisecond, func() (bool, error) {
		l, err := s.Nodes[0].Lease(ctx)
		return err == nil && l.Spec.LeaseDurationSeconds != nil && *l.Spec.LeaseDurationSeconds == usual, nil
	})
	if err != nil {
		return fmt.Errorf("wait for a lease of %d s: %w", usual, err)
	}
	return nil
}

// servesStatus waits until every running vipd serves its status: there may be a holder before a
// vipd that was just started serves its status.
func (s *Site) servesStatus(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for _, n := range s.Nodes {
		err := wait.Until(ctx, 50*time.Millisecond, func() (bool, error) {
			return !n.Vipd.Running() || serves(ctx, n), nil
		})
		if err != nil {
			return fmt.Errorf("wait for the status of vipd on %s: %w", n.Name, err)
		}
	}
	return nil
}

func serves(ctx context.Context, n *lab.Node) bool {
	conn, err := n.NS.Dial(ctx, "tcp", "127.0.0.1:2112")
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

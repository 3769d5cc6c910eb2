package doctor

import (
	"context"
	"time"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/wait"
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

// settle waits until all is well again, and every vipd tells its status.
func (s *Site) settle(ctx context.Context) error {
	if _, err := failover.Ready(ctx, s.Lab); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return wait.Until(ctx, 50*time.Millisecond, func() (bool, error) {
		for _, n := range s.Nodes {
			conn, err := n.NS.Dial(ctx, "tcp", "127.0.0.1:2112")
			if err != nil {
				return false, nil //nolint:nilerr // it is asked again
			}
			_ = conn.Close()
		}
		return true, nil
	})
}

package doctor

import (
	"context"
	"time"

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

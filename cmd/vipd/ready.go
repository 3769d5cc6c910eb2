package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/status"
	"github.com/vipd-io/vipd/pkg/vip"
)

// prospects is what /readyz goes by: whether vipd could hold the address.
type prospects struct {
	known    atomic.Bool // the Lease was read
	eligible atomic.Bool
}

func (r *prospects) stands(s election.Standing) { r.known.Store(s.Known) }

func (r *prospects) campaigns(c vip.Campaign) { r.eligible.Store(c.Eligible) }

func (r *prospects) lease(context.Context) error {
	if r.known.Load() {
		return nil
	}
	return errors.New("it was not read yet: no API server answers, or none lets the kubeconfig read it; the log says which")
}

func (r *prospects) candidate(context.Context) error {
	if r.eligible.Load() {
		return nil
	}
	return errors.New("this node does not campaign: no interface for the address, or it stands back; the log says why")
}

// livePoll is how often a Manager is looked at that was woken.
const livePoll = 5 * time.Millisecond

// moves tells whether the Manager takes a turn when it is asked to.
func moves(ctx context.Context, m *vip.Manager) error {
	ticker := time.NewTicker(livePoll)
	defer ticker.Stop()
	before := m.Turns()
	for m.Wake(); m.Turns() == before; {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the manager does not move: %w", ctx.Err())
		case <-ticker.C:
		}
	}
	return nil
}

func (d *daemon) checks() (live, ready []status.Check) {
	live = []status.Check{{Name: "manager", Ask: func(ctx context.Context) error { return moves(ctx, d.manager) }}}
	return live, append(live, status.Check{Name: "lease", Ask: d.ready.lease}, status.Check{Name: "candidate", Ask: d.ready.candidate})
}

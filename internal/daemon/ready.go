package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/vipd-io/vipd/internal/status"
	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/vip"
)

// candidacy is the part of /readyz that tells whether this node could hold a group.
type candidacy struct {
	known    atomic.Bool // the Lease was read
	eligible atomic.Bool
}

func (r *candidacy) statusChanged(s election.Status) { r.known.Store(s.Known) }

func (r *candidacy) campaignChanged(c vip.Campaign) { r.eligible.Store(c.Eligible) }

func (r *candidacy) lease() error {
	if r.known.Load() {
		return nil
	}
	return errors.New("not read yet: no API server answers, or none permits the kubeconfig to read the Lease; the log says which")
}

func (r *candidacy) candidate() error {
	if r.eligible.Load() {
		return nil
	}
	return errors.New("this node does not campaign: there is no interface for the VIP, the VIP is an address of the node itself, or the node defers to others; the log says why")
}

// livePoll is the interval at which the turns of a Manager are read after a wake-up.
const livePoll = 5 * time.Millisecond

// takesTurn returns an error unless the Manager takes a turn before ctx ends.
func takesTurn(ctx context.Context, m *vip.Manager) error {
	ticker := time.NewTicker(livePoll)
	defer ticker.Stop()
	before := m.Turns()
	for m.Wake(); m.Turns() == before; {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the manager takes no turn: %w", ctx.Err())
		case <-ticker.C:
		}
	}
	return nil
}

// live returns the checks of /livez: the Manager of each group takes turns.
func (n *node) live() []status.Check {
	return []status.Check{{Name: "manager", Ask: n.each(func(ctx context.Context, g *group) error { return takesTurn(ctx, g.manager) })}}
}

// ready returns the checks of /readyz: this node could hold each group.
func (n *node) ready() []status.Check {
	return append(n.live(),
		status.Check{Name: "lease", Ask: n.each(func(_ context.Context, g *group) error { return g.candidacy.lease() })},
		status.Check{Name: "candidate", Ask: n.each(func(_ context.Context, g *group) error { return g.candidacy.candidate() })})
}

// each returns a check of all groups.
func (n *node) each(ask func(context.Context, *group) error) func(context.Context) error {
	return func(ctx context.Context) error {
		var failed []error
		for _, g := range n.groups {
			failed = append(failed, ask(ctx, g))
		}
		return errors.Join(failed...)
	}
}

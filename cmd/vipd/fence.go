package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/pkg/config"
	"github.com/vipd-io/vipd/pkg/election"
	kernel "github.com/vipd-io/vipd/pkg/fence"
	"github.com/vipd-io/vipd/pkg/vip"
)

// fence is what ends the addresses when this process cannot.
type fence interface {
	vip.Fence
	arm(d time.Duration) (uint64, error)
	// watch calls changed when somebody else may have changed it.
	watch(ctx context.Context, log *zap.Logger, changed func()) error
	// slack is how much earlier than the deadline the addresses' lifetime ends.
	slack() time.Duration
	remove() error
	// kind is what it is made of, for people.
	kind() string
}

// openFence opens the fence that was asked for and that this kernel has.
func openFence(c config.Config, t election.Timing, log *zap.Logger) (fence, error) {
	if c.Fence != config.FenceLifetime {
		f := kernel.New(kernel.Options{Table: tableName(c), Addresses: c.Addresses})
		err := f.Prepare()
		if err == nil {
			return nftFence{f}, nil
		}
		if c.Fence == config.FenceNftables || !errors.Is(err, kernel.ErrUnsupported) {
			return nil, fmt.Errorf("prepare fence (needs CAP_NET_ADMIN): %w", err)
		}
		log.Warn("no nftables in this kernel: the address's own lifetime is the only fence", zap.Error(err))
	}
	if err := lifetimeSuffices(t); err != nil {
		return nil, usageError{err}
	}
	log.Info("fenced by the address's lifetime alone", zap.Duration("ends_before_deadline", removal))
	return lifetimeFence{}, nil
}

func tableName(c config.Config) string { return "vipd-" + c.Addresses[0].String() }

// nftFence is package fence.
type nftFence struct{ f *kernel.Fence }

func (n nftFence) arm(d time.Duration) (uint64, error) {
	t, err := n.f.Arm(d)
	return uint64(t), err
}

// Permit: a ticket that was superseded is followed by the grant of the newer one.
func (n nftFence) Permit(ticket uint64) error {
	if err := n.f.Permit(kernel.Ticket(ticket)); err != nil && !errors.Is(err, kernel.ErrSuperseded) {
		return err
	}
	return nil
}

func (n nftFence) kind() string          { return string(config.FenceNftables) }
func (n nftFence) Forbid() error         { return n.f.Forbid() }
func (n nftFence) Rest() error           { return n.f.Rest() }
func (n nftFence) Intact() (bool, error) { return n.f.Intact() }
func (n nftFence) Mend() error           { return n.f.Mend() }
func (n nftFence) slack() time.Duration  { return 0 }

func (n nftFence) watch(ctx context.Context, log *zap.Logger, changed func()) error {
	return n.f.Watch(ctx, log, changed)
}

func (n nftFence) remove() error {
	defer n.f.Close()
	return n.f.Remove()
}

// lifetimeFence is for kernels without nftables: the addresses' lifetime has to
// end in time by itself.
type lifetimeFence struct{}

// removal is what the kernel may take to remove an address whose lifetime is
// over: its worker runs once a second at most, and may be late on a busy host
// (net/ipv4/devinet.c, check_lifetime).
const removal = 1300 * time.Millisecond

func (lifetimeFence) arm(time.Duration) (uint64, error) { return 0, nil }
func (lifetimeFence) kind() string                      { return string(config.FenceLifetime) }
func (lifetimeFence) Permit(uint64) error               { return nil }
func (lifetimeFence) Forbid() error                     { return nil }
func (lifetimeFence) Rest() error                       { return nil }
func (lifetimeFence) Intact() (bool, error)             { return true, nil }
func (lifetimeFence) Mend() error                       { return nil }
func (lifetimeFence) slack() time.Duration              { return removal }
func (lifetimeFence) watch(ctx context.Context, _ *zap.Logger, _ func()) error {
	<-ctx.Done()
	return nil
}
func (lifetimeFence) remove() error { return nil }

// lifetimeSuffices refuses a lease in which a lifetime of whole seconds cannot
// last from one renewal to the next and still end in time.
func lifetimeSuffices(t election.Timing) error {
	const answers = 500 * time.Millisecond // for a renewal and its repetition
	lasts := func(t election.Timing) time.Duration { return (t.Hold() - removal).Truncate(time.Second) }
	if lasts(t) >= t.Renew+answers {
		return nil
	}
	smallest := t.Lease
	for lasts(t) < t.Renew+answers {
		smallest += time.Second
		var err error
		if t, err = election.NewTiming(smallest, 0); err != nil {
			return err
		}
	}
	return fmt.Errorf("lease duration too short without nftables: less %s margin and %s that the kernel may take to remove an address, "+
		"its lifetime in whole seconds does not last for the renew interval and %s of answers: use --lease-duration %s",
		t.Margin, removal, answers, smallest)
}

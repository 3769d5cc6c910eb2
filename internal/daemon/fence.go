package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/internal/config"
	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/election"
	kernel "github.com/vipd-io/vipd/pkg/fence"
	"github.com/vipd-io/vipd/pkg/vip"
)

// fence ends the addresses of one group when this process cannot. The Lease of the group opens it.
type fence interface {
	vip.Fence
	// arm starts a kernel timer of d for one write of the Lease, see kernel.Gate.
	arm(d time.Duration) (ticket uint64, err error)
	// watch calls changed when another program may have changed the fence.
	watch(ctx context.Context, log *zap.Logger, changed func()) error
	// slack is how much earlier than the deadline the lifetime of the addresses ends.
	slack() time.Duration
	remove() error
	// longest returns the longest permitted lease duration, at most the given one; 0 if the
	// duration must not change.
	longest(most time.Duration) time.Duration
	// kind names the mechanism, for people.
	kind() string
}

// openFences opens the fence of each group. Each group has tables of its own, named after its
// first address: an earlier process may have had other groups, and its tables have to be taken over
// by whoever has the group now, or to fence its addresses until the addresses are gone.
func openFences(c config.Config, groups []GroupSpec, t election.Timing, log *zap.Logger) (fences []fence, err error) {
	for _, g := range groups {
		f, err := openFence(c, g, t, log)
		if err != nil {
			return nil, err
		}
		fences = append(fences, f)
	}
	return fences, nil
}

// removeFences removes the fences of addresses that are gone.
func removeFences(fences []fence) error {
	var failed []error
	for _, f := range fences {
		failed = append(failed, f.remove())
	}
	return errors.Join(failed...)
}

// openFence prepares the configured fence, or the lifetime fence if the kernel has no nftables and
// the configuration permits that.
func openFence(c config.Config, g GroupSpec, t election.Timing, log *zap.Logger) (fence, error) {
	if c.Fence != config.FenceLifetime {
		f := kernel.New(kernel.Options{Table: kernel.TableName(g.Addresses[0]), Groups: [][]netip.Addr{g.Addresses},
			Sources: []kernel.Source{kernel.Lease}, Log: log.Named("fence")})
		err := f.Prepare()
		if err == nil {
			return newNftFence(f), nil
		}
		if c.Fence == config.FenceNftables || !errors.Is(err, kernel.ErrUnsupported) {
			return nil, fmt.Errorf("prepare fence (needs CAP_NET_ADMIN): %w", timedOut(err))
		}
		log.Warn("no nftables in this kernel", zap.Error(err), zap.String("consequence", "the lifetime of the address is the only fence"))
	}
	if err := lifetimeSuffices(t); err != nil {
		return nil, config.UsageError{Err: err}
	}
	log.Info("fenced by the address's lifetime alone", zap.Duration("ends_before_deadline", removal))
	return lifetimeFence{}, nil
}

// nftFence implements fence with nftables.
type nftFence struct {
	tables *kernel.Fence
	*kernel.Gate
}

// newNftFence returns the fence of tables with one group.
func newNftFence(tables *kernel.Fence) nftFence {
	return nftFence{tables, tables.Gate(0, kernel.Lease)}
}

// timedOut translates the error of a call that the kernel has not answered.
func timedOut(err error) error {
	if errors.Is(err, kernel.ErrTimeout) {
		return fmt.Errorf("%w: %w", vip.ErrTimeout, err)
	}
	return err
}

// arm asks the kernel for the rate of its clocks each time (2 us). If the kernel does not tell the
// rate, only the margin of the lease covers a slow clock.
func (n nftFence) arm(d time.Duration) (uint64, error) {
	rate, err := boottime.Slew()
	if err != nil {
		rate = 0
	}
	t, err := n.Arm(ticket(d, rate))
	return uint64(t), err
}

// ticket returns the timeout of a fence that has to end d from now. The kernel's timers count
// jiffies, which an NTP client slows down like CLOCK_BOOTTIME. The margin of the lease covers a
// rate down to -election.MaxSlew that starts at any time; for a clock that is slower already, the
// ticket is shorter in proportion.
func ticket(d time.Duration, rate boottime.PPM) time.Duration {
	const million = 1_000_000
	if rate >= -election.MaxSlew {
		return d
	}
	// nftables takes a timeout of 0 for an element without an end.
	return max(time.Millisecond, d*time.Duration(million+rate)/time.Duration(million-election.MaxSlew))
}

// Permit ignores a superseded ticket: the grant with the newer ticket follows.
func (n nftFence) Permit(ticket uint64) error {
	err := n.Gate.Permit(kernel.Ticket(ticket))
	if errors.Is(err, kernel.ErrSuperseded) {
		return nil
	}
	return timedOut(err)
}

func (n nftFence) Intact() (bool, error)                    { return n.tables.Intact() }
func (n nftFence) Repair() error                            { return n.tables.Repair() }
func (n nftFence) kind() string                             { return string(config.FenceNftables) }
func (n nftFence) longest(most time.Duration) time.Duration { return most }
func (n nftFence) slack() time.Duration                     { return 0 }

func (n nftFence) watch(ctx context.Context, log *zap.Logger, changed func()) error {
	return n.tables.Watch(ctx, log, changed)
}

func (n nftFence) remove() error {
	if err := n.tables.Remove(); err != nil {
		return timedOut(err) // the socket ends with the process
	}
	n.tables.Close()
	return nil
}

// lifetimeFence is for kernels without nftables: the lifetime of the addresses has to end in time.
type lifetimeFence struct{}

// removal is how long the kernel may take to remove an address after the end of its lifetime: the
// worker runs at most once a second, and may be late on a busy host (net/ipv4/devinet.c,
// check_lifetime).
const removal = 1300 * time.Millisecond

// longest forbids a longer lease: before the lease gets shorter again, the lifetime of the
// addresses would have to be shortened, and only Arm acts before the write.
func (lifetimeFence) longest(time.Duration) time.Duration { return 0 }

func (lifetimeFence) kind() string         { return string(config.FenceLifetime) }
func (lifetimeFence) slack() time.Duration { return removal }
func (lifetimeFence) watch(ctx context.Context, _ *zap.Logger, _ func()) error {
	<-ctx.Done()
	return nil
}
func (lifetimeFence) remove() error { return nil }

// There is nothing to open or close.

func (lifetimeFence) arm(time.Duration) (uint64, error) { return 0, nil }
func (lifetimeFence) Permit(uint64) error               { return nil }
func (lifetimeFence) Forbid() error                     { return nil }
func (lifetimeFence) Clear() error                      { return nil }
func (lifetimeFence) Intact() (bool, error)             { return true, nil }
func (lifetimeFence) Repair() error                     { return nil }

// lifetimeSuffices returns an error for a lease in which a lifetime of whole seconds cannot last
// from one renewal to the next and still end in time.
func lifetimeSuffices(t election.Timing) error {
	const answers = 500 * time.Millisecond // for a renewal and one retry
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
	return fmt.Errorf("lease duration too short without nftables: after %s of margin and %s for the removal of an address by the kernel, "+
		"a lifetime in whole seconds does not cover the renew interval and %s for answers: use --lease-duration %s",
		t.Margin, removal, answers, smallest)
}

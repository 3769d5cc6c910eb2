package simulation

import (
	"context"
	"sync"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/vip"
)

// releaseFirst releases the lease, and does the steps before the release only then.
func releaseFirst(p *process, s *dependencies) {
	d := &delayed{Election: s.election}
	s.fence, s.network, s.election = lazyFence{s.fence, d}, lazyNetwork{s.network, d}, d
}

// delayed postpones steps until after the release, or does them at once without one.
type delayed struct {
	vip.Election
	mu        sync.Mutex
	due       []func() error
	releasing bool
}

func (d *delayed) put(do func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.due = append(d.due, do)
	time.AfterFunc(time.Millisecond, func() {
		d.mu.Lock()
		releasing := d.releasing
		d.mu.Unlock()
		if !releasing {
			d.catchUp()
		}
	})
	return nil
}

func (d *delayed) catchUp() {
	d.mu.Lock()
	due := d.due
	d.due, d.releasing = nil, false
	d.mu.Unlock()
	for _, do := range due {
		_ = do()
	}
}

func (d *delayed) GiveBack(ctx context.Context, a vip.GiveBack) error {
	d.mu.Lock()
	d.releasing = true
	d.mu.Unlock()
	defer d.catchUp()
	return d.Election.GiveBack(ctx, a)
}

type lazyFence struct {
	fence
	d *delayed
}

func (l lazyFence) Forbid() error { return l.d.put(l.fence.Forbid) }

type lazyNetwork struct {
	vip.Network
	d *delayed
}

func (l lazyNetwork) Remove() error { return l.d.put(l.Network.Remove) }

// fromTheAnswer gives the elector a later time as the time of the send, as late as an answer may
// come.
func fromTheAnswer(p *process, s *dependencies) {
	m := &lateClock{fence: s.fence, p: p, clock: s.clock}
	s.fence, s.clock = m, m.now
}

type lateClock struct {
	fence
	p     *process
	clock boottime.Clock
	mu    sync.Mutex
	armed bool
}

func (l *lateClock) Arm(d time.Duration) (uint64, error) {
	t, err := l.fence.Arm(d)
	l.mu.Lock()
	l.armed = true
	l.mu.Unlock()
	return t, err
}

// now returns the later time if it is called right after Arm.
func (l *lateClock) now() boottime.Instant {
	l.mu.Lock()
	armed := l.armed
	l.armed = false
	l.mu.Unlock()
	now := l.clock()
	if armed {
		now = now.Add(l.p.n.below(l.p.timing.Attempt, drawMutation))
	}
	return now
}

// hideOtherHolder hides another holder from the Manager until the deadline.
func hideOtherHolder(p *process, s *dependencies) {
	notify, d := s.notify, &heldBack{}
	s.notify = func(stand election.Status) {
		d.mu.Lock()
		until := d.until
		if stand.Held {
			d.until = stand.Until
		}
		d.count++
		mine := d.count
		d.mu.Unlock()
		left := p.k.clock.when(until) - p.n.c.now()
		if stand.Held || left <= 0 {
			notify(stand)
			return
		}
		time.AfterFunc(left, func() {
			d.mu.Lock()
			newest := d.count == mine
			d.mu.Unlock()
			if newest {
				notify(stand)
			}
		})
	}
}

type heldBack struct {
	mu    sync.Mutex
	until boottime.Instant
	count int
}

// noDeadline ignores the deadline until another holder is reported.
func noDeadline(_ *process, s *dependencies) {
	notify := s.notify
	s.notify = func(stand election.Status) {
		if !stand.Held && stand.Why == "the lease could not be renewed in time" {
			return
		}
		stand.Until = stand.Until.Add(time.Hour)
		notify(stand)
	}
}

// clockStandsStill gives the Manager a clock that stands still during a suspend, like
// CLOCK_MONOTONIC, and hides everything from it but later deadlines.
func clockStandsStill(p *process, s *dependencies) {
	ahead := p.k.now() - boottime.Instant(p.k.clock.read(p.n.c.now()).jiffies)
	s.now = func() boottime.Instant {
		_ = p.pass(drawManager)
		now := boottime.Instant(p.k.clock.read(p.n.c.now()).jiffies) + ahead
		_ = p.pass(drawManager)
		return now
	}
	notify := s.notify
	s.alarm = nil
	s.notify = func(stand election.Status) {
		if stand.Held || stand.Why != "the lease could not be renewed in time" {
			notify(stand)
		}
	}
}

// pledgeForgotten ends a process although it accepted what the holder offers.
func pledgeForgotten(_ *process, s *dependencies) {
	notify := s.notify
	s.notify = func(stand election.Status) {
		stand.Pledged = false
		notify(stand)
	}
}

// skipRemove reports the address as removed.
type skipRemove struct{ vip.Network }

func (skipRemove) Remove() error { return nil }

// neverReleasing never releases the lease.
type neverReleasing struct{ vip.Election }

func (neverReleasing) GiveBack(context.Context, vip.GiveBack) error { return nil }

// unboundedRelease releases the lease without a time limit.
type unboundedRelease struct{ vip.Election }

func (p unboundedRelease) GiveBack(ctx context.Context, a vip.GiveBack) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return p.Election.GiveBack(ctx, a)
}

// skipDivert reports packets as diverted, without doing so.
type skipDivert struct{ vip.Network }

func (skipDivert) Divert() error { return nil }

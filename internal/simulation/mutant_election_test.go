package simulation

import (
	"context"
	"sync"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/vip"
)

// releaseFirst gives the lease back and only then does what was to be done before.
func releaseFirst(p *process, s *seams) {
	d := &delayed{Election: s.election}
	s.fence, s.network, s.election = lazyFence{s.fence, d}, lazyNetwork{s.network, d}, d
}

// delayed does later what was put off, and at once if there is no release.
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

func (d *delayed) GiveBack(ctx context.Context, successor string) error {
	d.mu.Lock()
	d.releasing = true
	d.mu.Unlock()
	defer d.catchUp()
	return d.Election.GiveBack(ctx, successor)
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

// fromTheAnswer has the elector take a later time for that of the send: as late
// as an answer may be that it still waits for.
func fromTheAnswer(p *process, s *seams) {
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

// now is the send time when it is asked right behind Arm.
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

// deaf keeps from the Manager that another node holds, until the deadline.
func deaf(p *process, s *seams) {
	notify, d := s.notify, &deafness{}
	s.notify = func(stand election.Standing) {
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

type deafness struct {
	mu    sync.Mutex
	until boottime.Instant
	count int
}

// noDeadline goes on until it is told of another holder.
func noDeadline(_ *process, s *seams) {
	notify := s.notify
	s.notify = func(stand election.Standing) {
		if !stand.Held && stand.Why == "the lease could not be renewed in time" {
			return
		}
		stand.Until = stand.Until.Add(time.Hour)
		notify(stand)
	}
}

// unremoving says that the address is gone.
type unremoving struct{ vip.Network }

func (unremoving) Remove() error { return nil }

// keeping gives nothing back.
type keeping struct{ vip.Election }

func (keeping) GiveBack(context.Context, string) error { return nil }

// patient gives the lease back however long that takes.
type patient struct{ vip.Election }

func (p patient) GiveBack(ctx context.Context, successor string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return p.Election.GiveBack(ctx, successor)
}

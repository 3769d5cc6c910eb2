//go:build simulation

package simulation

import (
	"errors"
	"slices"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/vip"
)

// fence is what cmd/vipd has of either kind.
type fence interface {
	vip.Fence
	Arm(d time.Duration) (ticket uint64, err error)
	prepare() error
	remove() error
	slack() time.Duration
}

// nftables is pkg/fence over the modelled kernel: the same steps, with the same
// look at the clock between them, and each transaction is a call that takes a
// while and that the process may be paused before and behind.
type nftables struct {
	p    *process
	k    *kernel
	lock lock
	now  boottime.Clock

	tickets      uint64
	slots        [2]ticket
	named        int
	made, unsure bool
}

// ticket is pkg/fence's armed: what a slot should have in it.
type ticket struct {
	number      uint64
	end, latest boottime.Instant
	inForce     bool
}

// Constants of pkg/fence.
const (
	linger     = 30 * time.Second
	fenceGrain = 20 * time.Millisecond
)

// lock is a mutex that a bubble knows: who waits for it may wait for time to pass.
type lock chan struct{}

func (l lock) release() { <-l }

// take takes the lock. Those who want it at the same time, want it one after the
// other.
func (f *nftables) take(d draw) lock {
	f.p.n.tie(d)
	f.lock <- struct{}{}
	return f.lock
}

func newNftables(p *process) *nftables {
	return &nftables{p: p, k: p.k, lock: make(lock, 1), now: p.clock(drawFence)}
}

func (*nftables) slack() time.Duration { return 0 }

// prepare makes the tables, or takes over what time is left in them.
func (f *nftables) prepare() error {
	defer f.take(drawPrepare).release()
	there := false
	f.k.do(func() { there = f.k.tables })
	f.made = true
	if !there {
		return f.transact(drawPrepare, func() error { f.create(); return nil })
	}
	for i := range f.slots {
		before := f.now()
		var got slot
		if err := f.p.call(drawPrepare, func() error { got = f.read(i); return nil }); err != nil {
			return err
		}
		fenced, ok := f.listed(got.fenced)
		if !ok {
			continue
		}
		left := min(0, fenced-linger)
		if armed, ok := f.listed(got.armed); ok {
			left = armed
		}
		f.tickets++
		f.slots[i] = ticket{number: f.tickets, end: before.Add(left), latest: f.now().Add(left), inForce: got.inForce}
		if last := f.slots[f.named]; f.slots[i].inForce && (!last.inForce || last.end < f.slots[i].end) {
			f.named = i
		}
	}
	return nil
}

// read is what the kernel lists.
func (f *nftables) read(i int) (got slot) {
	f.k.do(func() { got = f.k.slots[i] })
	return got
}

func (f *nftables) listed(e element) (left time.Duration, ok bool) {
	f.k.do(func() { left, ok = f.k.left(e) })
	return left, ok
}

// Arm starts the kernel's timer.
func (f *nftables) Arm(d time.Duration) (uint64, error) {
	defer f.take(drawArm).release()
	next := 1 - f.named
	var start boottime.Instant
	err := f.change(drawArm, func() func() {
		start = f.now()
		return func() { f.k.slots[next] = slot{}; f.fill(next, d) }
	})
	if err != nil {
		return 0, err
	}
	f.made = true
	f.tickets++
	f.slots[next] = ticket{number: f.tickets, end: start.Add(d), latest: f.now().Add(d)}
	return f.tickets, nil
}

// Permit names a ticket. As in cmd/vipd, one that was superseded is no error.
func (f *nftables) Permit(number uint64) error {
	defer f.take(drawPermit).release()
	i := slices.IndexFunc(f.slots[:], func(t ticket) bool { return t.number == number })
	if number == 0 || number != f.tickets || i < 0 {
		return nil // the grant of the newer one follows
	}
	if err := f.change(drawPermit, func() func() { return func() { f.k.slots[i].inForce = true } }); err != nil {
		return err
	}
	f.slots[i].inForce, f.named = true, i
	return nil
}

// Forbid closes the fence.
func (f *nftables) Forbid() error {
	defer f.take(drawForbid).release()
	for i := range f.slots {
		f.slots[i].inForce = false
	}
	return f.takeAway(drawForbid, func() {
		for i := range f.k.slots {
			f.k.slots[i].inForce = false
		}
	})
}

// Rest takes the fence away.
func (f *nftables) Rest() error {
	defer f.take(drawRest).release()
	f.slots = [2]ticket{}
	return f.takeAway(drawRest, func() { f.k.slots = [2]slot{} })
}

func (f *nftables) takeAway(d draw, change func()) error {
	err := f.apply(d, change)
	if errors.Is(err, errNoTable) {
		err = nil
		if f.made {
			err = f.rebuild()
		}
	}
	return err
}

// remove deletes the tables.
func (f *nftables) remove() error {
	defer f.take(drawRemove).release()
	err := f.transact(drawRemove, func() error { f.k.tables, f.k.slots = false, [2]slot{}; return nil })
	if err == nil {
		f.slots, f.made = [2]ticket{}, false
	}
	return err
}

// Intact tells whether the kernel has what it should.
func (f *nftables) Intact() (bool, error) {
	defer f.take(drawLook).release()
	return f.intact()
}

func (f *nftables) intact() (ok bool, err error) {
	if !f.made || f.unsure {
		return !f.made, nil
	}
	ok = true
	for i := range f.slots {
		before := f.now()
		var got slot
		var there bool
		if err := f.p.glance(func() { there, got = f.k.tables, f.k.slots[i] }); err != nil {
			return false, err
		}
		ok = ok && there && !f.exceeds(got, f.slots[i], before) && !f.lacks(got, f.slots[i], f.now())
	}
	return ok, nil
}

func (f *nftables) exceeds(got slot, want ticket, at boottime.Instant) bool {
	left, armed := f.listed(got.armed)
	if !armed || want.number == 0 && !got.inForce {
		return false
	}
	return got.inForce && !want.inForce || at.Add(left).Sub(want.latest) > fenceGrain
}

func (f *nftables) lacks(got slot, want ticket, at boottime.Instant) bool {
	if want.number == 0 {
		return false
	}
	lasts := func(end boottime.Instant) bool { return at.Before(end.Add(-fenceGrain)) }
	_, fenced := f.listed(got.fenced)
	_, armed := f.listed(got.armed)
	return lasts(want.end.Add(linger)) && !fenced || lasts(want.end) && (!armed || want.inForce && !got.inForce)
}

// Mend makes the tables as they should be.
func (f *nftables) Mend() error {
	defer f.take(drawMend).release()
	if ok, err := f.intact(); ok && err == nil {
		return nil
	}
	return f.rebuild()
}

// rebuild starts the timers first, and names what is in force only if they end in
// time.
func (f *nftables) rebuild() error {
	f.unsure = true
	var next [2]ticket
	for slack := fenceGrain; ; slack *= 2 {
		start := f.now()
		next = f.slots
		lasts := func(t ticket) bool { return t.end.Sub(start) >= time.Millisecond }
		for i, s := range f.slots {
			if s.number != 0 {
				next[i].end, next[i].latest = s.end.Add(-slack), s.end
			}
			next[i].inForce = s.inForce && lasts(next[i])
		}
		if err := f.transact(drawMend, func() error { f.restart(start, next); return nil }); err != nil {
			return err
		}
		if f.now().Sub(start) <= slack || !slices.ContainsFunc(next[:], lasts) {
			break
		}
	}
	err := f.apply(drawReopen, func() {
		for i, s := range next {
			f.k.slots[i].inForce = f.k.slots[i].inForce || s.inForce
		}
	})
	if err != nil {
		return err
	}
	f.slots, f.made, f.unsure = next, true, false
	return nil
}

// restart, create and fill run inside a transaction.
func (f *nftables) restart(start boottime.Instant, tickets [2]ticket) {
	f.create()
	for i, s := range tickets {
		if s.number != 0 {
			f.fill(i, s.end.Sub(start))
		}
	}
}

func (f *nftables) create() { f.k.tables, f.k.slots = true, [2]slot{} }

func (f *nftables) fill(i int, d time.Duration) {
	f.k.slots[i].fenced, f.k.slots[i].armed = f.k.element(d+linger), f.k.element(d)
}

// change makes the tables anew if they are not there or may not be as they should.
func (f *nftables) change(d draw, build func() func()) error {
	if !f.unsure {
		err := f.apply(d, build())
		if !errors.Is(err, errNoTable) {
			return err
		}
	}
	if err := f.rebuild(); err != nil {
		return err
	}
	return f.apply(d, build())
}

// apply changes tables that have to be there.
func (f *nftables) apply(d draw, change func()) error {
	return f.transact(d, func() error {
		if !f.k.tables {
			return errNoTable
		}
		change()
		return nil
	})
}

// transact is one transaction: all of it happens, or nothing.
func (f *nftables) transact(d draw, change func() error) error {
	err := f.p.call(d, func() (err error) {
		f.k.do(func() { err = change() })
		return err
	})
	f.unsure = f.unsure || err != nil
	return err
}

// lifetime is cmd/vipd's lifetimeFence, for kernels without nftables.
type lifetime struct{ early time.Duration }

func (lifetime) Arm(time.Duration) (uint64, error) { return 0, nil }
func (lifetime) Permit(uint64) error               { return nil }
func (lifetime) Forbid() error                     { return nil }
func (lifetime) Rest() error                       { return nil }
func (lifetime) Intact() (bool, error)             { return true, nil }
func (lifetime) Mend() error                       { return nil }
func (lifetime) prepare() error                    { return nil }
func (lifetime) remove() error                     { return nil }
func (l lifetime) slack() time.Duration            { return l.early }

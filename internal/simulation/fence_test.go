package simulation

import (
	"time"

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

// nftables does in the modelled kernel what the tests of pkg/fence show in a real
// one: Arm starts the kernel's timer and opens nothing, and cuts what is in force
// to it; Permit puts the newest ticket in force; Mend gives no ticket more time
// than it had; prepare takes over what an earlier process left. A change happens or
// does not, takes a while, and the process may be paused before and behind it.
type nftables struct {
	p    *process
	turn chan struct{} // a mutex that a bubble knows: its waiters may wait for time to pass

	tickets       uint64
	newest, named int // slots: of the newest ticket, and what Permit named last
	want          tables
	unsure        bool // a change failed: the kernel may not have what it should
	uncut         bool // the error of fenceNotCut
}

// linger is how long the fence outlives a ticket (pkg/fence).
const linger = 30 * time.Second

func newNftables(p *process) *nftables { return &nftables{p: p, turn: make(chan struct{}, 1)} }

func (*nftables) slack() time.Duration { return 0 }

// take waits for its turn. Those who want it at the same time have it one after
// the other.
func (f *nftables) take(d draw) (done func()) {
	f.p.n.tie(d)
	f.turn <- struct{}{}
	return func() { <-f.turn }
}

func (f *nftables) prepare() error {
	defer f.take(drawPrepare)()
	k := f.p.k
	return f.p.call(drawPrepare, func() error {
		k.do(func() {
			k.tables.there = true
			f.want = k.tables
		})
		if a, b := f.want.slots[0], f.want.slots[1]; b.inForce && (!a.inForce || a.armed < b.armed) {
			f.named = 1
		}
		return nil
	})
}

func (f *nftables) Arm(d time.Duration) (uint64, error) {
	defer f.take(drawArm)()
	next := 1 - f.named
	err := f.change(drawArm, func(t *tables) {
		t.slots[next] = slot{fenced: f.p.k.element(d + linger), armed: f.p.k.element(d)}
		if !f.uncut {
			t.slots[f.named].armed = min(t.slots[f.named].armed, t.slots[next].armed)
		}
	})
	if err != nil {
		return 0, err
	}
	f.tickets++
	f.newest = next
	return f.tickets, nil
}

// Permit does nothing for a ticket that was superseded or put away, as in cmd/vipd:
// the grant of a newer one follows.
func (f *nftables) Permit(ticket uint64) error {
	defer f.take(drawPermit)()
	if ticket == 0 || ticket != f.tickets || f.want.slots[f.newest] == (slot{}) {
		return nil
	}
	err := f.change(drawPermit, func(t *tables) { t.slots[f.newest].inForce = true })
	if err == nil {
		f.named = f.newest
	}
	return err
}

func (f *nftables) Forbid() error {
	defer f.take(drawForbid)()
	return f.takeAway(drawForbid, func(s *slot) { s.inForce = false })
}

func (f *nftables) Rest() error {
	defer f.take(drawRest)()
	return f.takeAway(drawRest, func(s *slot) { *s = slot{} })
}

// takeAway changes both slots. That it is wanted counts also if it fails.
func (f *nftables) takeAway(d draw, change func(*slot)) error {
	both := func(t *tables) {
		for i := range t.slots {
			change(&t.slots[i])
		}
	}
	both(&f.want)
	return f.change(d, both)
}

func (f *nftables) remove() error {
	defer f.take(drawRemove)()
	return f.p.call(drawRemove, func() error {
		f.p.k.do(func() { f.p.k.tables = tables{} })
		return nil
	})
}

func (f *nftables) Intact() (bool, error) {
	defer f.take(drawLook)()
	return f.intact()
}

func (f *nftables) intact() (ok bool, err error) {
	k := f.p.k
	err = f.p.glance(func() { ok = !f.unsure && k.tables.at(k.at) == f.want.at(k.at) })
	return ok, err
}

func (f *nftables) Mend() error {
	defer f.take(drawMend)()
	if ok, err := f.intact(); ok && err == nil {
		return nil
	}
	f.unsure = true
	return f.change(drawMend, func(*tables) {})
}

// change is one transaction. It makes all as it should be if the tables are not
// there or may not be as they should; else it touches nothing but what it changes.
func (f *nftables) change(d draw, edit func(*tables)) error {
	k, next := f.p.k, f.want
	err := f.p.call(d, func() error {
		k.do(func() {
			edit(&next)
			if f.unsure || !k.tables.there {
				k.tables = next
			} else {
				edit(&k.tables)
			}
		})
		return nil
	})
	f.unsure = err != nil
	if err == nil {
		f.want = next
	}
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

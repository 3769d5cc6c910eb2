package simulation

import (
	"errors"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	fencing "github.com/vipd-io/vipd/pkg/fence"
	"github.com/vipd-io/vipd/pkg/vip"
)

// fence is the interface of internal/daemon's two kinds of fences.
type fence interface {
	vip.Fence
	Arm(d time.Duration) (ticket uint64, err error)
	prepare() error
	remove() error
	slack() time.Duration
}

// nftables is internal/daemon's nftFence: the real pkg/fence over the tables of the modelled
// kernel.
type nftables struct {
	p     *process
	fence *fencing.Fence
	gate  *fencing.Gate
	// tables may be replaced by a mutation.
	tables *ruleset
}

func newNftables(p *process) *nftables {
	r := &ruleset{p: p}
	r.Kernel = transactions{r}
	f := fencing.New(fencing.Options{Groups: make([][]netip.Addr, 1), Sources: []fencing.Source{fencing.Lease}, Kernel: r, Now: p.clock(drawFence)})
	return &nftables{p: p, tables: r, fence: f, gate: f.Gate(0, fencing.Lease)}
}

func (*nftables) slack() time.Duration { return 0 }

func (f *nftables) prepare() error {
	f.tables.preparing.Store(true)
	defer f.tables.preparing.Store(false)
	f.p.n.tie(drawPrepare)
	return f.fence.Prepare()
}

func (f *nftables) Arm(d time.Duration) (uint64, error) {
	f.p.n.tie(drawArm)
	t, err := f.gate.Arm(d)
	return uint64(t), err
}

func (f *nftables) Permit(ticket uint64) error {
	f.p.refreshes("the fence is opened")
	f.p.n.tie(drawPermit)
	err := f.gate.Permit(fencing.Ticket(ticket))
	switch {
	case errors.Is(err, fencing.ErrSuperseded):
		return nil
	case errors.Is(err, fencing.ErrTimeout):
		return vip.ErrTimeout
	}
	return err
}

func (f *nftables) Forbid() error         { f.p.n.tie(drawForbid); return f.gate.Forbid() }
func (f *nftables) Clear() error          { f.p.n.tie(drawClear); return f.gate.Clear() }
func (f *nftables) Intact() (bool, error) { f.p.n.tie(drawLook); return f.fence.Intact() }
func (f *nftables) Repair() error         { f.p.n.tie(drawRepair); return f.fence.Repair() }
func (f *nftables) remove() error         { f.p.n.tie(drawRemove); return f.fence.Remove() }

// ruleset is the kernel's nftables as pkg/fence sees them.
type ruleset struct {
	fencing.Kernel
	p         *process
	preparing atomic.Bool // calls do not fail while the tables are prepared
}

// transactions are calls into the kernel: before and after each, the process may be paused or
// killed; a transaction may fail with or without an effect, and may hang.
type transactions struct{ r *ruleset }

func (t transactions) Transact(changes ...fencing.Change) error {
	p := t.r.p
	return p.call(t.r.named(changes), func() (err error) {
		p.k.do(func() { err = p.k.change(changes) })
		return err
	})
}

// named returns the name of a transaction for random decisions.
func (r *ruleset) named(changes []fencing.Change) draw {
	if r.preparing.Load() {
		return drawPrepare
	}
	switch changes[0].Verb {
	case fencing.Make:
		return drawRepair
	case fencing.Delete:
		return drawRemove
	case fencing.Permit:
		return drawPermit
	case fencing.Forbid:
		return drawForbid
	default:
		if len(changes) > 1 && changes[1].Verb == fencing.Enclose {
			return drawArm
		}
		return drawClear
	}
}

func (t transactions) Look() (v fencing.View, err error) {
	p, d := t.r.p, drawLook
	if t.r.preparing.Load() {
		d = drawPrepare
	}
	err = p.instantCall(d, func() { v = p.k.view() })
	return v, err
}

func (transactions) Learn() error { return nil }
func (transactions) Close()       {}

// view returns the state of the tables. Existing tables are complete: only their elements are ever
// damaged.
func (k *kernel) view() fencing.View {
	v := fencing.View{Found: k.tables.there, Whole: k.tables.there}
	if !v.Whole {
		return v
	}
	var seen fencing.Contents
	timed := func(end time.Duration) fencing.Elements {
		if end <= k.at {
			return fencing.Elements{}
		}
		return fencing.Elements{Any: true, Ours: true, Left: end - k.at}
	}
	for i, s := range k.tables.slots {
		seen[i] = fencing.Content{Fenced: timed(s.fenced), Armed: timed(s.armed), InForce: fencing.Elements{Any: s.inForce, Ours: s.inForce}}
	}
	v.Gates = [][]fencing.Contents{{seen}} // the ARP table and the IP table are one here
	return v
}

// change applies one transaction, completely or not at all.
func (k *kernel) change(changes []fencing.Change) error {
	next := k.tables
	for _, c := range changes {
		s := &next.slots[c.Slot]
		switch c.Verb {
		case fencing.Make:
			next = tables{there: true}
			continue
		case fencing.Delete:
			next = tables{}
			continue
		default:
		}
		if !next.there {
			return unix.ENOENT
		}
		switch c.Verb {
		case fencing.Empty:
			*s = slot{}
		case fencing.Enclose:
			s.fenced = k.timer(c.For)
		case fencing.Start:
			s.armed = k.timer(c.For)
		case fencing.Permit:
			s.inForce = true
		case fencing.Forbid:
			s.inForce = false
		default:
		}
	}
	k.tables = next
	if changes[0].Verb == fencing.Make || changes[0].Verb == fencing.Delete {
		k.exposed.Store(0)
	}
	return nil
}

// timer returns when an element ends that is added now, 0 for an element that is not added.
func (k *kernel) timer(d time.Duration) time.Duration {
	if d < time.Millisecond {
		return 0
	}
	return k.element(d)
}

// lifetime is internal/daemon's lifetimeFence, for kernels without nftables.
type lifetime struct{ early time.Duration }

func (lifetime) Arm(time.Duration) (uint64, error) { return 0, nil }
func (lifetime) Permit(uint64) error               { return nil }
func (lifetime) Forbid() error                     { return nil }
func (lifetime) Clear() error                      { return nil }
func (lifetime) Intact() (bool, error)             { return true, nil }
func (lifetime) Repair() error                     { return nil }
func (lifetime) prepare() error                    { return nil }
func (lifetime) remove() error                     { return nil }
func (l lifetime) slack() time.Duration            { return l.early }

package fence

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// modelKernel models one table, with a clock of its own.
type modelKernel struct {
	now   boottime.Instant
	there bool
	gates [][slots]modelSlot
	// before and after are called in each call. An error of before means a call without an effect,
	// an error of after means a lost answer.
	before, after func() error
	late          func() time.Duration // how late a timer ends
}

// modelSlot is the sets of one ticket, as the ends of their elements; 0 for none.
type modelSlot struct {
	fenced, armed boottime.Instant
	inForce       bool
}

// newModel returns a kernel and a prepared Fence of groups with these sources.
func newModel(t *testing.T, groups int, sources ...Source) (*modelKernel, *Fence) {
	t.Helper()
	k := &modelKernel{now: boottime.Instant(time.Hour), gates: make([][slots]modelSlot, groups*len(sources)), late: func() time.Duration { return 0 }}
	k.calm()
	f := New(Options{Groups: make([][]netip.Addr, groups), Sources: sources, Kernel: k, Now: func() boottime.Instant { return k.now }})
	must(t, f.Prepare())
	return k, f
}

// calm makes calls succeed at once.
func (k *modelKernel) calm() {
	k.before = func() error { return nil }
	k.after = k.before
}

func (k *modelKernel) pass(d time.Duration) { k.now = k.now.Add(d) }

func (k *modelKernel) Transact(changes ...Change) error {
	if err := k.before(); err != nil {
		return err
	}
	if err := k.apply(changes); err != nil {
		return err
	}
	return k.after()
}

func (k *modelKernel) apply(changes []Change) error {
	there, gates := k.there, slices.Clone(k.gates)
	for _, c := range changes {
		switch c.Verb {
		case Make, Delete:
			there, gates = c.Verb == Make, make([][slots]modelSlot, len(gates))
			continue
		default:
		}
		if !there {
			return unix.ENOENT
		}
		k.change(&gates[c.Gate][c.Slot], c)
	}
	k.there, k.gates = there, gates
	return nil
}

func (k *modelKernel) change(s *modelSlot, c Change) {
	switch c.Verb {
	case Empty:
		*s = modelSlot{}
	case Enclose:
		s.fenced = k.timer(c.For)
	case Start:
		s.armed = k.timer(c.For)
	case Permit, Forbid:
		s.inForce = c.Verb == Permit
	default:
	}
}

func (k *modelKernel) timer(d time.Duration) boottime.Instant {
	if d < time.Millisecond {
		return 0
	}
	return k.now.Add(d + k.late())
}

func (k *modelKernel) Look() (v View, err error) {
	if err := k.before(); err != nil {
		return v, err
	}
	v.Found, v.Whole = k.there, k.there
	for _, g := range k.gates {
		var c Contents
		for i, s := range g {
			c[i] = Content{Fenced: k.timed(s.fenced), Armed: k.timed(s.armed), InForce: Elements{Any: s.inForce, Ours: s.inForce}}
		}
		v.Gates = append(v.Gates, []Contents{c})
	}
	return v, k.after()
}

func (k *modelKernel) timed(end boottime.Instant) Elements {
	lasts := end > k.now
	return Elements{Any: lasts, Ours: lasts, Left: max(0, end.Sub(k.now))}
}

func (*modelKernel) Learn() error { return nil }
func (*modelKernel) Close()       {}

// openUntil returns until when a ticket in force opens a gate, 0 if none does.
func (k *modelKernel) openUntil(gate int) (end boottime.Instant) {
	for _, s := range k.gates[gate] {
		if s.inForce && s.armed > k.now {
			end = max(end, s.armed)
		}
	}
	return end
}

// fencedUntil returns until when a gate has a fence.
func (k *modelKernel) fencedUntil(gate int) (end boottime.Instant) {
	for _, s := range k.gates[gate] {
		end = max(end, s.fenced)
	}
	return end
}

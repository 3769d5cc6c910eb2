package fence

import (
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// ErrSuperseded means that newer tickets replaced this one.
var ErrSuperseded = errors.New("a newer ticket was armed")

// Ticket identifies one period in which the addresses may be answered for. The zero Ticket is never
// in force.
type Ticket uint64

// slots is how many tickets a gate stores: the ticket in force; the ticket whose write was answered
// and whose Permit is on its way; and the ticket of the next write. If a write takes longer than
// the renew interval, the next ticket is armed as soon as the write is answered.
const slots = 3

// tickets is the content of the slots of a gate.
type tickets [slots]armed

// state is the tickets of all gates.
type state []tickets

// armed is the content of a slot. The zero armed is an empty slot.
type armed struct {
	ticket Ticket
	// The kernel's timer ends between end and latest, because the timer started at an unknown
	// instant of the transaction.
	end, latest boottime.Instant
	// lasts is the latest end of this ticket and the tickets before it. The address may still have
	// the longer lifetime of an earlier ticket.
	lasts   boottime.Instant
	inForce bool
}

// with returns the state with other tickets for one gate.
func (s state) with(gate int, t tickets) state {
	next := slices.Clone(s)
	next[gate] = t
	return next
}

// Gate is what one source decides for one group of addresses.
type Gate struct {
	fence     *Fence
	index     int // index in Fence.gates
	permitted int // the slot of the last Permit, which Arm does not use
}

// Gate returns the gate of a group, by its index in Options, and a source.
func (f *Fence) Gate(group int, by Source) *Gate {
	return f.gates[group*len(f.opts.Sources)+slices.Index(f.opts.Sources, by)]
}

// takeOver takes over the slots of an earlier process, from all tables. If several tickets are in
// force, all but one are about to end.
func (g *Gate) takeOver(s observation, tables []Contents) {
	f, t := g.fence, g.tickets()
	for i := range t {
		if slices.ContainsFunc(tables, func(c Contents) bool { return !c[i].Fenced.Ours }) {
			continue
		}
		f.tickets++
		t[i] = armed{ticket: f.tickets, end: s.after.Add(longest), inForce: tables[0][i].InForce.Ours}
		for _, table := range tables {
			t[i].include(s, table[i])
		}
		if last := t[g.permitted]; t[i].inForce && (!last.inForce || last.end.Before(t[i].end)) {
			g.permitted = i
		}
	}
}

// include makes the ticket end no later than in this table, and at the latest when this table ends
// it.
func (a *armed) include(s observation, got Content) {
	left := min(0, got.Fenced.Left-linger) // the ticket has ended, and the address may still be there
	most := left
	if got.Armed.Any {
		most = got.Armed.Left
	}
	if got.Armed.Ours {
		left = got.Armed.Left
	}
	a.end = min(a.end, s.before.Add(left))
	a.latest = max(a.latest, s.after.Add(most))
	a.lasts = max(a.lasts, s.after.Add(max(most, got.Fenced.Left-linger)))
}

// tickets returns the tickets of the gate.
func (g *Gate) tickets() *tickets { return &g.fence.have[g.index] }

// Arm starts the kernel's timer for one lease write: the addresses become silent after d, unless a
// newer ticket is in force by then. Call Arm before the write is sent. The ticket in force, if any,
// stays in force, but for no longer than the new ticket: an earlier process may have left a longer
// one, and the other nodes will wait only for the lease that is about to be written.
func (g *Gate) Arm(d time.Duration) (Ticket, error) {
	f := g.fence
	return serialize(f, f.timeout, "arm fence", func() (Ticket, error) {
		for slack := timerError; ; slack *= 2 {
			var replace bool
			start := f.now()
			if err := f.change(func() (next state, err error) { next, replace, err = g.arm(d, slack); return next, err }); err != nil {
				return 0, err
			}
			f.made = true
			if !replace {
				return f.tickets, nil
			}
			if f.now().Sub(start) <= slack {
				return f.tickets, f.change(g.replaceInForce)
			}
		}
	})
}

// arm starts the timer of a new ticket. The result replace means that a ticket in force may last
// longer than the new one, and the new ticket has to replace it. The longer ticket's own timer
// cannot be shortened: a ticket that permits already would be extended by any pause of this process
// while its timer restarts. The new ticket must not last longer than the ticket before it, less
// slack. A ticket with too little time left, or one that waits for its Permit, ends here.
func (g *Gate) arm(d, slack time.Duration) (next state, replace bool, err error) {
	f, slot, start := g.fence, g.free(), g.fence.now()
	have, limit, over := *g.tickets(), start.Add(d), []Change(nil)
	lasts := max(g.lasts(), limit)
	for i, s := range g.tickets() {
		switch left := s.end.Sub(start) - slack; {
		case i == slot || s.latest <= limit:
		case s.inForce && left > timerError:
			replace, d = true, min(d, left)
		default:
			have[i], over = armed{}, append(over, g.change(Empty, i, 0))
		}
	}
	have[slot] = armed{ticket: f.tickets + 1, end: start.Add(d), lasts: lasts}
	err = f.kernel.Transact(append([]Change{g.change(Empty, slot, 0), g.change(Enclose, slot, lasts.Sub(start)+linger), g.change(Start, slot, d)}, over...)...)
	have[slot].latest = f.now().Add(d)
	return f.have.with(g.index, have), replace, err
}

// replaceInForce puts the newest ticket in force, which permits no more than the tickets in force
// do, and ends those.
func (g *Gate) replaceInForce() (state, error) {
	next := *g.tickets()
	newest := g.newest()
	changes := []Change{g.change(Permit, newest, 0)}
	for i, s := range next {
		if i != newest && s.inForce {
			changes, next[i] = append(changes, g.change(Empty, i, 0)), armed{}
		}
	}
	next[newest].inForce = true
	return g.fence.have.with(g.index, next), g.fence.kernel.Transact(changes...)
}

func (g *Gate) newest() (slot int) {
	for i, s := range g.tickets() {
		if s.ticket > g.tickets()[slot].ticket {
			slot = i
		}
	}
	return slot
}

// lasts returns the latest end of all tickets so far.
func (g *Gate) lasts() (at boottime.Instant) {
	for _, s := range g.tickets() {
		at = max(at, s.lasts)
	}
	return at
}

// change returns a change of one slot of the gate.
func (g *Gate) change(v Verb, slot int, d time.Duration) Change {
	return Change{Verb: v, Gate: g.index, Slot: slot, For: d}
}

// free returns the slot for the next ticket: the oldest one that was not permitted last.
func (g *Gate) free() int {
	free := (g.permitted + 1) % slots
	for i, s := range g.tickets() {
		if i != g.permitted && s.ticket < g.tickets()[free].ticket {
			free = i
		}
	}
	return free
}

// Permit lets the addresses be answered for until the ticket ends, unless another source fences
// them. A ticket that has ended permits nothing. ErrSuperseded means that newer tickets replaced
// this one; the ticket in force stays in force.
func (g *Gate) Permit(t Ticket) error {
	f := g.fence
	return f.run("open fence", func() error {
		return f.change(func() (state, error) {
			next := *g.tickets()
			i := slices.IndexFunc(next[:], func(a armed) bool { return a.ticket == t })
			if t == 0 || i < 0 {
				return nil, ErrSuperseded
			}
			next[i].inForce = true
			return f.have.with(g.index, next), f.kernel.Transact(g.change(Permit, i, 0))
		})
	})
}

// Forbid closes the gate at once. A ticket that was armed and not permitted yet can still be
// permitted. Call Forbid repeatedly while addresses may be here: each call keeps the fence from
// ending.
func (g *Gate) Forbid() error {
	f := g.fence
	return f.run("close fence", func() error {
		for i := range slots {
			f.have[g.index][i].inForce, f.pending[g.index][i].inForce = false, false
		}
		return f.revoke(append(g.eachSlot(Forbid), g.extendFence()...)...)
	})
}

// extendFence extends the fence by another linger, if the fence would end soon because all tickets
// ended a while ago.
func (g *Gate) extendFence() []Change {
	f, now, last := g.fence, g.fence.now(), g.lasts()
	if last == 0 || now.Before(last.Add(linger/2)) {
		return nil
	}
	f.tickets++
	slot, none := g.free(), armed{ticket: f.tickets, end: now, latest: now, lasts: now}
	f.have[g.index][slot], f.pending[g.index][slot] = none, none
	return []Change{g.change(Empty, slot, 0), g.change(Enclose, slot, linger)}
}

// Clear removes the source's fence from the group. Call Clear when the addresses are known to be
// gone, or when this source does not decide for the group.
func (g *Gate) Clear() error {
	f := g.fence
	return f.run("clear fence", func() error {
		f.have[g.index], f.pending[g.index] = tickets{}, tickets{}
		return f.revoke(g.eachSlot(Empty)...)
	})
}

// eachSlot returns the change for each slot.
func (g *Gate) eachSlot(v Verb) (all []Change) {
	for i := range slots {
		all = append(all, g.change(v, i, 0))
	}
	return all
}

// revoke makes changes that only remove elements. If a part of the tables is missing, the rest may
// still be open, and the missing part closes nothing: all tables are made anew. After Remove there
// is nothing to revoke.
func (f *Fence) revoke(changes ...Change) error {
	err := f.kernel.Transact(changes...)
	if err == nil {
		return nil // a state that was unsure stays unsure
	}
	f.markUnsure()
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	if !f.made {
		return nil
	}
	return f.recheck()
}

// markUnsure records a failed change that leads to no state of its own. If an earlier change
// failed as well, the pending state of that change is still possible.
func (f *Fence) markUnsure() {
	if !f.unsure {
		f.unsure, f.pending = true, f.have
	}
}

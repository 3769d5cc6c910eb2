package fence

import (
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// timerError bounds the difference between the kernel's timers and this process's: the kernel's
// ticks are up to 10 ms apart, and the kernel rounds to ticks.
const timerError = 20 * time.Millisecond

// Intact tells whether the tables are as they were made, and contain the tickets that were armed
// and permitted, for no longer than that. If not, another program changed them, or a change failed
// half way: call Repair. Before Prepare and after Remove, Intact is true.
func (f *Fence) Intact() (bool, error) {
	return serialize(f, f.timeout, "look at fence", f.intact)
}

func (f *Fence) intact() (bool, error) {
	if !f.made || f.unchanged() {
		return true, nil
	}
	l := looked{at: f.now(), foreign: f.journal.changes()}
	ok, err := f.matchesState()
	if !ok || err != nil {
		l = looked{}
	}
	f.looked = l
	return ok, err
}

// Repair repairs the tables if they are damaged: the ticket in force gets the rest of its time, and
// so does a ticket that is armed and waits for its Permit.
func (f *Fence) Repair() error {
	return f.run("repair fence", func() error {
		if !f.made {
			return nil
		}
		return f.recheck()
	})
}

// change makes a change that leads to the returned state. After a failed change, and after a change
// that found no tables, change reads the tables first.
func (f *Fence) change(do func() (state, error)) error {
	if f.unsure {
		if err := f.recheck(); err != nil {
			return err
		}
	}
	for again := false; ; again = true {
		next, err := do()
		if err == nil {
			f.adopt(next)
			return nil
		}
		if errors.Is(err, ErrSuperseded) {
			return err // no change was tried
		}
		f.unsure, f.pending = true, next
		if again || !errors.Is(err, unix.ENOENT) {
			return err
		}
		// Another program flushed the ruleset, including vipd's tables.
		if err := f.recheck(); err != nil {
			return err
		}
	}
}

// adopt records the content of the tables.
func (f *Fence) adopt(next state) {
	f.have, f.unsure = next, false
	for i, g := range f.gates {
		for slot, s := range next[i] {
			f.tickets = max(f.tickets, s.ticket)
			if last := next[i][g.permitted]; s.inForce && (!last.inForce || last.ticket < s.ticket) {
				g.permitted = slot
			}
		}
	}
}

// recheck reads the tables, and makes them anew only if they are damaged. A failed transaction
// usually changed nothing, or everything and only the answer was lost: in both cases the tables are
// whole.
func (f *Fence) recheck() error {
	ok, err := f.matchesState()
	if ok || err != nil {
		return err
	}
	return f.rebuild()
}

// maxLooks bounds the attempts to read the tables without a pause.
const maxLooks = 3

// matchesState reads the tables, and tells whether they match the state. A pause of this process
// within the read hides when the timers end, so matchesState reads again then, and at last returns
// false.
func (f *Fence) matchesState() (bool, error) {
	for looks := 1; ; looks++ {
		s, err := f.look()
		if err != nil || !s.Whole {
			return false, err
		}
		if f.matchedBy(s) {
			return true, nil
		}
		if s.after.Sub(s.before) <= timerError || looks == maxLooks {
			return false, nil
		}
	}
}

// matchedBy tells whether the observation matches the state. The pending state of a failed change
// is compared first: an Arm that may have taken effect used the slot of the ticket before it.
func (f *Fence) matchedBy(s observation) bool {
	if f.unsure && s.matches(f.pending) && s.lasts(f.pending) {
		f.adopt(f.pending)
		return true
	}
	if !s.matches(f.have) {
		return false
	}
	f.unsure = false
	return true
}

// observation is the content of the tables, read between before and after.
type observation struct {
	View
	before, after boottime.Instant
}

func (f *Fence) look() (s observation, err error) {
	s.before = f.now()
	s.View, err = f.kernel.Look()
	s.after = f.now()
	return s, err
}

// matches tells whether the tables contain what they should, and no more. Whatever pause was within
// the read, a timer that is found to end in time does so, with an error of timerError.
func (s observation) matches(want state) bool {
	from := max(s.before, s.after.Add(-timerError))
	return s.each(want, func(want armed, got Content) bool { return !got.exceeds(want, from) && !got.lacks(want, s.after) })
}

// lasts tells whether no timer ends too early: a timer that does is from before the change that was
// to restart it.
func (s observation) lasts(want state) bool {
	to := min(s.after, s.before.Add(timerError))
	return s.each(want, func(want armed, got Content) bool {
		return want.ticket == 0 || !got.Armed.Any || want.end.Sub(to.Add(got.Armed.Left)) <= timerError
	})
}

// agree tells whether all tables contain the same tickets. Each change is one transaction over all
// tables, so that a process that was killed leaves them in agreement. But timers start one after
// the other while the kernel handles a transaction, for callTimeout at most; takeOver allows for
// that.
func (s observation) agree() bool {
	return !slices.ContainsFunc(s.Gates, func(tables []Contents) bool {
		return slices.ContainsFunc(tables, func(c Contents) bool { return !c.agrees(tables[0]) })
	})
}

func (c Contents) agrees(with Contents) bool {
	for i, got := range c {
		if got.InForce != with[i].InForce || got.InForce.Any != got.InForce.Ours ||
			!got.Armed.agrees(with[i].Armed) || !got.Fenced.agrees(with[i].Fenced) {
			return false
		}
	}
	return true
}

// agrees tells whether elements with timeouts end together, and whether each address has one as
// long as more than the end is left.
func (e Elements) agrees(with Elements) bool {
	return (e.Left-with.Left).Abs() <= callTimeout && (e.Any == e.Ours || e.Left <= callTimeout)
}

// each tells whether is holds for each slot, in each table.
func (s observation) each(want state, is func(armed, Content) bool) bool {
	for gate, tables := range s.Gates {
		for _, table := range tables {
			for slot, got := range table {
				if !is(want[gate][slot], got) {
					return false
				}
			}
		}
	}
	return true
}

// exceeds tells whether a slot, read at that instant or later, opens the fence without a permit or
// for too long. Another program may have restored a saved ruleset: `nft list ruleset` saves
// elements, too.
func (c Content) exceeds(want armed, at boottime.Instant) bool {
	if !c.Armed.Any || want.ticket == 0 && !c.InForce.Any {
		return false
	}
	return c.InForce.Any && !want.inForce || at.Add(c.Armed.Left).Sub(want.latest) > timerError
}

// lacks tells whether a slot, read at that instant or earlier, is incomplete.
func (c Content) lacks(want armed, at boottime.Instant) bool {
	if want.ticket == 0 {
		return false
	}
	lasts := func(end boottime.Instant) bool { return at.Before(end.Add(-timerError)) }
	return lasts(want.end.Add(linger)) && !c.Fenced.Ours ||
		lasts(want.end) && (!c.Armed.Ours || want.inForce && !c.InForce.Ours)
}

// rebuild makes the tables anew, closed: the first transaction contains the fence around the
// addresses. From then on the node is silent, whatever becomes of this process, until the second
// transaction permits what was in force. Clients see the millisecond in between as one
// retransmitted packet.
//
// One transaction is not enough. This process computes the time that is left of a ticket, and the
// kernel counts that time from the transaction on, which a pause of this process can delay. So
// rebuild proceeds as with a new ticket. First the timers start, and permit nothing. Then the clock
// is read again: if the transaction took longer than the slack that was subtracted from the
// tickets, the timers start anew with more slack. Only timers that end in time are put in force,
// and a pause before that reduces their own time.
func (f *Fence) rebuild() error {
	f.unsure, f.pending = true, f.have
	var next state
	for slack := timerError; ; slack *= 2 {
		start := f.now()
		lasts := func(s armed) bool { return s.end.Sub(start) >= time.Millisecond }
		next = f.have.shortened(slack, lasts)
		if err := f.kernel.Transact(restart(next, start)...); err != nil {
			return err
		}
		if f.now().Sub(start) <= slack || !next.anySlot(lasts) {
			break
		}
	}
	if permits := next.permits(); len(permits) > 0 {
		if err := f.kernel.Transact(permits...); err != nil {
			return err
		}
	}
	f.have, f.made, f.unsure = next, true, false
	return nil
}

// restart returns the changes that make the tables with the fences and timers of the tickets, and
// with no ticket in force.
func restart(all state, start boottime.Instant) []Change {
	changes := []Change{{Verb: Make}}
	for gate, t := range all {
		for slot, s := range t {
			if s.ticket != 0 {
				left := s.end.Sub(start)
				changes = append(changes, Change{Verb: Enclose, Gate: gate, Slot: slot, For: max(left, s.lasts.Sub(start)) + linger}, Change{Verb: Start, Gate: gate, Slot: slot, For: left})
			}
		}
	}
	return changes
}

// permits returns the changes that put the tickets in force.
func (s state) permits() (changes []Change) {
	for gate, t := range s {
		for slot, a := range t {
			if a.inForce {
				changes = append(changes, Change{Verb: Permit, Gate: gate, Slot: slot})
			}
		}
	}
	return changes
}

// anySlot tells whether is holds for a slot.
func (s state) anySlot(is func(armed) bool) bool {
	return slices.ContainsFunc(s, func(t tickets) bool { return slices.ContainsFunc(t[:], is) })
}

// shortened subtracts d from the tickets: they end by as much earlier, and at the latest at their
// former end. Tickets that do not last any more are not in force.
func (s state) shortened(d time.Duration, lasts func(armed) bool) state {
	next := slices.Clone(s)
	for gate := range next {
		for slot, a := range next[gate] {
			if a.ticket != 0 {
				a.end, a.latest = a.end.Add(-d), a.end
				a.inForce = a.inForce && lasts(a)
				next[gate][slot] = a
			}
		}
	}
	return next
}

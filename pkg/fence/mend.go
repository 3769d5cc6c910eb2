package fence

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/nftables"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// grain is how far the kernel's timers are from ours: its ticks are up to 10 ms
// apart, and it rounds to them.
const grain = 20 * time.Millisecond

// Intact tells whether the tables are as they were made, and have in them what
// was armed and permitted, for no longer than it was. False is that somebody
// changed them, or that a change of ours failed half way: Mend. Before Prepare
// and after Remove there is nothing to be damaged.
func (f *Fence) Intact() (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.intact()
}

// Mend makes the tables as they should be, if they are not: with the ticket in
// force for the rest of its time, and with the one that is armed and waits for its
// Permit.
func (f *Fence) Mend() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ok, err := f.intact(); ok && err == nil {
		return nil
	}
	if err := f.rebuild(); err != nil {
		return fmt.Errorf("mend fence: %w", err)
	}
	return nil
}

func (f *Fence) intact() (bool, error) {
	if !f.made || f.unsure {
		return !f.made, nil
	}
	if ok, err := f.whole(); err != nil || !ok {
		return false, err
	}
	for _, l := range f.layout {
		for i, s := range l.slots {
			ok, err := f.holds(s, f.slots[i])
			if err != nil {
				f.hangUp()
				return false, fmt.Errorf("look at elements of nftables table %s %s: %w", l.familyName, f.opts.Table, err)
			}
			if !ok {
				return false, nil
			}
		}
	}
	return true, nil
}

// whole tells whether all tables are there as they are made.
func (f *Fence) whole() (bool, error) {
	c, err := f.conn()
	if err != nil {
		return false, err
	}
	for _, l := range f.layout {
		ok, err := l.whole(c)
		if err != nil {
			f.hangUp() // so that no answer is left for the next question to read
			return false, fmt.Errorf("look at nftables table %s %s: %w", l.familyName, f.opts.Table, err)
		}
		if !ok {
			return false, nil
		}
	}
	return true, nil
}

// holds tells whether a slot has in it what it should.
func (f *Fence) holds(s slot, want armed) (bool, error) {
	before := f.now()
	got, err := s.read(f.socket)
	if err != nil {
		return false, err
	}
	after := f.now()
	return !f.exceeds(got, want, before) && !f.lacks(got, want, after), nil
}

// exceeds tells whether a slot, read at that time or later, opens the fence
// without a permit or for too long. Somebody may have put back what he had saved:
// `nft list ruleset` saves elements, too.
func (f *Fence) exceeds(got content, want armed, at boottime.Instant) bool {
	if len(got.armed) == 0 || want.ticket == 0 && len(got.inForce) == 0 {
		return false
	}
	return len(got.inForce) > 0 && !want.inForce ||
		slices.ContainsFunc(got.armed, func(e nftables.SetElement) bool { return at.Add(e.Expires).Sub(want.latest) > grain })
}

// lacks tells whether there is not all in a slot, read at that time or earlier.
func (f *Fence) lacks(got content, want armed, at boottime.Instant) bool {
	if want.ticket == 0 {
		return false
	}
	lasts := func(end boottime.Instant) bool { return at.Before(end.Add(-grain)) }
	return lasts(want.end.Add(linger)) && !f.ours(got.fenced) ||
		lasts(want.end) && (!f.ours(got.armed) || want.inForce && !f.ours(got.inForce))
}

// ours tells whether these are elements for our addresses, all of them and no others.
func (f *Fence) ours(got []nftables.SetElement) bool {
	for _, a := range f.opts.Addresses {
		if !slices.ContainsFunc(got, func(e nftables.SetElement) bool { return string(e.Key) == string(a.AsSlice()) }) {
			return false
		}
	}
	return len(got) == len(f.opts.Addresses)
}

// rebuild makes the tables anew.
//
// What is left of a ticket is worked out here and counted by the kernel from when
// it gets to it, which is later by any pause of this process in between. So it is
// done as with a new ticket: first the timers start, and permit nothing. Then the
// clock is read again: if it took longer than was taken off the tickets for it,
// they start anew, with more taken off. Only timers that end in time are named as
// in force, and a pause before that is spent on their time.
//
// If a ticket is in force, the fence goes up around it last, so that no packet is
// dropped in between: until then, for less than a millisecond, all is as whoever
// flushed the ruleset left it, with the address's own lifetime to end it. If none
// is, it goes up first.
func (f *Fence) rebuild() error {
	f.unsure = true
	var next [slots]armed
	for slack := grain; ; slack *= 2 {
		start := f.now()
		next = shortened(f.slots, slack)
		lasts := func(s armed) bool { return s.end.Sub(start) >= time.Millisecond }
		for i, s := range next {
			next[i].inForce = s.inForce && lasts(s)
		}
		if err := f.restart(start, next, inForce(next)); err != nil {
			return err
		}
		if f.now().Sub(start) <= slack || !slices.ContainsFunc(next[:], lasts) {
			break
		}
	}
	if inForce(next) {
		if err := f.reopen(next); err != nil {
			return err
		}
	}
	f.slots, f.made, f.unsure = next, true, false
	return nil
}

// shortened takes d off the tickets: they end by as much earlier, or as late as
// they were to end.
func shortened(tickets [slots]armed, d time.Duration) [slots]armed {
	for i, s := range tickets {
		if s.ticket != 0 {
			tickets[i].end, tickets[i].latest = s.end.Add(-d), s.end
		}
	}
	return tickets
}

func inForce(tickets [slots]armed) bool {
	return slices.ContainsFunc(tickets[:], func(s armed) bool { return s.inForce })
}

// reopen names the tickets in force, and then puts up the fence around them.
func (f *Fence) reopen(tickets [slots]armed) error {
	err := f.apply(func(c *nftables.Conn, l layout) error {
		return each(tickets, func(i int) error {
			if !tickets[i].inForce {
				return nil
			}
			return l.permit(c, f.opts.Addresses, i)
		})
	})
	if err != nil {
		return err
	}
	now := f.now()
	return f.apply(func(c *nftables.Conn, l layout) error {
		return each(tickets, func(i int) error { return l.enclose(c, f.opts.Addresses, i, tickets[i].end.Sub(now)) })
	})
}

// restart makes the tables with the tickets' timers running and none in force;
// and without the fence, if they are to be reopened.
func (f *Fence) restart(start boottime.Instant, tickets [slots]armed, open bool) error {
	return f.apply(func(c *nftables.Conn, l layout) error {
		if err := l.create(c); err != nil {
			return err
		}
		return each(tickets, func(i int) error {
			left := tickets[i].end.Sub(start)
			if !open {
				if err := l.enclose(c, f.opts.Addresses, i, left); err != nil {
					return err
				}
			}
			return l.start(c, f.opts.Addresses, i, left)
		})
	})
}

// each does something for each slot that has a ticket.
func each(tickets [slots]armed, do func(slot int) error) error {
	for i, s := range tickets {
		if s.ticket == 0 {
			continue
		}
		if err := do(i); err != nil {
			return err
		}
	}
	return nil
}

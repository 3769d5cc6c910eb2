// Package fence keeps a node from answering for addresses whose time is up,
// whatever has become of the process that put them there.
//
// It is an nftables table of vipd's own (one for ARP, one for IP) in which the
// kernel looks up each packet: ARP that speaks for a fenced address and packets
// to it pass only while an element with a timeout is there. The kernel takes
// the element away by itself, to the millisecond, when the process was killed,
// stopped, or is merely late.
//
// The timer must not start late, either. A timeout that is worked out in the
// process, handed to the kernel, and delayed in between by a pause of the
// process, would end after the lease. So the order is:
//
//	Arm    before a lease write is sent: the kernel starts the timer, and
//	       nothing passes yet (the element waits under a ticket of its own)
//	Permit after the write came back: the ticket is named as the one in force
//
// Arm comes before the send time that the lease is counted from, hence the
// timer ends no later than the lease does; and a Permit that comes late names a
// ticket that has ended.
//
// Others may change nftables, too: a firewall that is reloaded flushes every
// table. Watch tells of it, Intact finds it, and Mend puts it right.
//
// What package fence does not do: add or remove addresses (package netif), or
// decide who may hold them.
package fence

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// ErrUnsupported means that this kernel has no nftables, or not the ARP family.
var ErrUnsupported = errors.New("no nftables in this kernel")

// linger is how long the fence outlives the last ticket. It must outlast the
// address (whose valid_lft ends up to 1.3 s after the ticket). After it the
// table is inert: a killed vipd that never comes back must not keep whoever
// manages the address next from using it.
const linger = 30 * time.Second

// ErrSuperseded means that a newer ticket was armed in the place of this one.
var ErrSuperseded = errors.New("a newer ticket was armed")

// Ticket names one stretch of time in which the addresses may be answered for.
// The zero Ticket is never in force.
type Ticket uint64

// Options say what to fence.
type Options struct {
	// Table is the name of both tables; nothing outside them is touched.
	Table string
	// Addresses are fenced together.
	Addresses []netip.Addr
	// NetNS is a file descriptor of the network namespace; 0 is the caller's.
	NetNS int
}

// Fence is safe for use by several goroutines.
type Fence struct {
	opts   Options
	layout []layout
	now    boottime.Clock
	// port is the address of the open socket, see Watch.
	port atomic.Uint32

	mu      sync.Mutex
	socket  *nftables.Conn
	tickets Ticket       // counts up
	slots   [slots]armed // what the slots of the tables have in them
	named   int          // the slot that Permit named last; Arm takes the other one
	made    bool         // there are tables of ours, unless somebody took them
	unsure  bool         // a change failed: the tables may not be as slots says
}

// armed is what a slot has in it. The zero armed is an empty one.
type armed struct {
	ticket Ticket
	// The kernel's timer ends at the end or later, but not after latest: it was
	// started some time during the transaction.
	end, latest boottime.Instant
	inForce     bool
}

// New returns a fence that has touched nothing yet: call Prepare.
func New(opts Options) *Fence {
	return &Fence{opts: opts, layout: layouts(opts.Table), now: boottime.Now}
}

// Prepare makes the tables, or takes over those of an earlier process with
// whatever time is left in them, so that a restart loses no packet. An error
// that is ErrUnsupported means that this kernel cannot fence at all.
func (f *Fence) Prepare() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slots, f.unsure = [slots]armed{}, false
	whole, err := f.whole()
	if err != nil {
		return unsupported(err)
	}
	if whole {
		f.made = true
		return f.takeOver()
	}
	for _, l := range f.layout {
		if err := f.transact(l.create); err != nil {
			return unsupported(fmt.Errorf("make nftables table %s %s: %w", l.familyName, f.opts.Table, err))
		}
	}
	f.made = true
	return nil
}

// takeOver reads what an earlier process left in the slots. If both are in force,
// one is about to end.
func (f *Fence) takeOver() error {
	c, err := f.conn()
	if err != nil {
		return err
	}
	for i, s := range f.layout[0].slots {
		before := f.now()
		got, err := s.read(c)
		if err != nil {
			f.hangUp()
			return fmt.Errorf("read nftables table %s: %w", f.opts.Table, err)
		}
		if !f.ours(got.fenced) {
			continue
		}
		left := min(0, got.fenced[0].Expires-linger) // the ticket is over, and the address may still be there
		if f.ours(got.armed) {
			left = got.armed[0].Expires
		}
		f.tickets++
		f.slots[i] = armed{ticket: f.tickets, end: before.Add(left), latest: f.now().Add(left), inForce: f.ours(got.inForce)}
		if last := f.slots[f.named]; f.slots[i].inForce && (!last.inForce || last.end.Before(f.slots[i].end)) {
			f.named = i
		}
	}
	return nil
}

// Arm starts the kernel's timer for one lease write: d from now the addresses
// fall silent unless a newer ticket is in force by then. Call it before the
// write is sent. The ticket in force, if any, goes on, but for no longer than
// the new one: an earlier process with a longer lease may have left it, and the
// write is to say how long others have to wait.
func (f *Fence) Arm(d time.Duration) (Ticket, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := 1 - f.named
	var start boottime.Instant
	cut := f.slots[f.named].end.Sub(f.now()) > d
	err := f.change(func(c *nftables.Conn, l layout) error {
		start = f.now()
		if cut {
			if err := l.shorten(c, f.opts.Addresses, f.named, d); err != nil {
				return err
			}
		}
		return l.arm(c, f.opts.Addresses, next, d)
	})
	if err != nil {
		return 0, fmt.Errorf("arm fence: %w", err)
	}
	f.made = true
	f.tickets++
	end, latest := start.Add(d), f.now().Add(d)
	f.slots[next] = armed{ticket: f.tickets, end: end, latest: latest}
	if cut {
		f.slots[f.named].end, f.slots[f.named].latest = end, latest
	}
	return f.tickets, nil
}

// Permit lets the addresses be answered for until the ticket ends; one that has
// ended permits nothing. ErrSuperseded: a newer one was armed since, and what
// was in force still is.
func (f *Fence) Permit(t Ticket) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.slots[:], func(a armed) bool { return a.ticket == t })
	if t == 0 || t != f.tickets || i < 0 {
		return fmt.Errorf("open fence: %w", ErrSuperseded)
	}
	if err := f.change(func(c *nftables.Conn, l layout) error { return l.permit(c, f.opts.Addresses, i) }); err != nil {
		return fmt.Errorf("open fence: %w", err)
	}
	f.slots[i].inForce, f.named = true, i
	return nil
}

// Forbid closes the fence at once, whatever was permitted. A ticket that was
// armed and not permitted yet still can be.
func (f *Fence) Forbid() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.slots {
		f.slots[i].inForce = false
	}
	return f.takeAway("close fence", layout.forbid)
}

// Rest takes the fence itself away and keeps the empty tables. Only for when
// the addresses are known to be gone.
func (f *Fence) Rest() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slots = [slots]armed{}
	return f.takeAway("rest fence", layout.rest)
}

// takeAway runs a change that only takes away. Where a part of the tables is
// missing, the rest may still be open, and what is missing closes nothing: all of
// it is made anew. After Remove there is nothing to be taken.
func (f *Fence) takeAway(what string, change func(layout, *nftables.Conn)) error {
	err := f.apply(func(c *nftables.Conn, l layout) error { change(l, c); return nil })
	if errors.Is(err, unix.ENOENT) {
		err = nil
		if f.made {
			err = f.rebuild()
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// Remove deletes the tables. Only for when the addresses are known to be gone.
func (f *Fence) Remove() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.layout {
		err := f.transact(func(c *nftables.Conn) error { c.DelTable(l.table); return nil })
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove nftables table %s %s: %w", l.familyName, f.opts.Table, err)
		}
	}
	f.slots, f.made = [slots]armed{}, false
	return nil
}

// change runs one change on all tables, which are made anew if they are not
// there or may not be as they should.
func (f *Fence) change(do func(*nftables.Conn, layout) error) error {
	if !f.unsure {
		err := f.apply(do)
		if !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	// Somebody flushed the ruleset, and our tables with it.
	if err := f.rebuild(); err != nil {
		return err
	}
	return f.apply(do)
}

// apply runs one change on all tables in a single transaction.
func (f *Fence) apply(change func(*nftables.Conn, layout) error) error {
	return f.transact(func(c *nftables.Conn) error {
		for _, l := range f.layout {
			if err := change(c, l); err != nil {
				return err
			}
		}
		return nil
	})
}

// transact sends what build queues as one nftables transaction.
func (f *Fence) transact(build func(*nftables.Conn) error) error {
	c, err := f.conn()
	if err != nil {
		return err
	}
	err = build(c)
	if err == nil {
		err = c.Flush()
	}
	if err != nil {
		f.unsure = true
		f.hangUp() // so that no answer of a failed transaction is left for the next to read
	}
	return err
}

// conn returns the socket, which stays open: closing one waits for an RCU grace
// period (5 to 17 ms) behind a transaction that deleted something
// (net/netfilter/nf_tables_api.c, nft_rcv_nl_event).
func (f *Fence) conn() (*nftables.Conn, error) {
	if f.socket == nil {
		opts := []nftables.ConnOption{nftables.AsLasting(), nftables.WithSockOptions(f.keepPort)}
		if f.opts.NetNS != 0 {
			opts = append(opts, nftables.WithNetNSFd(f.opts.NetNS))
		}
		c, err := nftables.New(opts...)
		if err != nil {
			return nil, err
		}
		f.socket = c
	}
	return f.socket, nil
}

func (f *Fence) hangUp() {
	if f.socket != nil {
		_ = f.socket.CloseLasting()
		f.socket = nil
	}
}

// Close closes the socket. The tables stay as they are; see Remove.
func (f *Fence) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hangUp()
}

// unsupported tells a kernel without nftables from one that refuses.
func unsupported(err error) error {
	for _, errno := range []unix.Errno{unix.EOPNOTSUPP, unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT, unix.EINVAL, unix.ENOENT} {
		if errors.Is(err, errno) {
			return fmt.Errorf("%w (%w)", ErrUnsupported, err)
		}
	}
	return err
}

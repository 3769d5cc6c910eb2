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
// ticket that has ended. What package fence does not do: add or remove
// addresses (package netif), or decide who may hold them.
package fence

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
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

	mu      sync.Mutex
	socket  *nftables.Conn
	tickets Ticket // counts up
	newest  armed  // what Arm made last
	inForce armed  // what Permit named last, to restore it after a foreign flush
}

// armed is a ticket with its slot in the tables and the time at which it ends.
type armed struct {
	ticket Ticket
	slot   int
	end    boottime.Instant
}

// New returns a fence that has touched nothing yet: call Prepare.
func New(opts Options) *Fence {
	return &Fence{opts: opts, layout: layouts(opts.Table)}
}

// Prepare makes the tables, or takes over those of an earlier process with
// whatever time is left in them, so that a restart loses no packet. An error
// that is ErrUnsupported means that this kernel cannot fence at all.
func (f *Fence) Prepare() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.prepare(); err != nil {
		return unsupported(err)
	}
	c, err := f.conn()
	if err != nil {
		return err
	}
	if f.inForce.slot, err = f.layout[0].slotInForce(c); err != nil {
		return fmt.Errorf("read nftables table %s: %w", f.opts.Table, err)
	}
	return nil
}

// Arm starts the kernel's timer for one lease write: d from now the addresses
// fall silent unless a newer ticket is in force by then. Call it before the
// write is sent. The ticket in force, if any, goes on.
func (f *Fence) Arm(d time.Duration) (Ticket, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := armed{ticket: f.tickets + 1, slot: 1 - f.inForce.slot, end: boottime.Now().Add(d)}
	change := func(c *nftables.Conn, l layout) error { return l.arm(c, f.opts.Addresses, next.slot, d) }
	err := f.apply(change)
	if errors.Is(err, unix.ENOENT) {
		// Somebody flushed the ruleset, and our tables with it.
		if err = f.rebuild(); err == nil {
			err = f.apply(change)
		}
	}
	if err != nil {
		return 0, fmt.Errorf("arm fence: %w", err)
	}
	f.tickets, f.newest = next.ticket, next
	return next.ticket, nil
}

// Permit lets the addresses be answered for until the ticket ends; one that has
// ended permits nothing. ErrSuperseded: a newer one was armed since, and what
// was in force still is.
func (f *Fence) Permit(t Ticket) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t == 0 || t != f.newest.ticket {
		return fmt.Errorf("open fence: %w", ErrSuperseded)
	}
	if err := f.apply(func(c *nftables.Conn, l layout) error { return l.permit(c, f.opts.Addresses, f.newest.slot) }); err != nil {
		return fmt.Errorf("open fence: %w", err)
	}
	f.inForce = f.newest
	return nil
}

// Forbid closes the fence at once, whatever was permitted. A ticket that was
// armed and not permitted yet still can be. Tables that are not
// there have nothing to close.
func (f *Fence) Forbid() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inForce = armed{slot: f.inForce.slot}
	return f.flush("close fence", layout.forbid)
}

// Rest takes the fence itself away and keeps the empty tables. Only for when
// the addresses are known to be gone.
func (f *Fence) Rest() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.flush("rest fence", layout.rest)
}

// flush runs a change that only takes away: tables that are not there have
// nothing to be taken.
func (f *Fence) flush(what string, change func(layout, *nftables.Conn)) error {
	err := f.apply(func(c *nftables.Conn, l layout) error { change(l, c); return nil })
	if err != nil && !errors.Is(err, unix.ENOENT) {
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
	return nil
}

func (f *Fence) prepare() error {
	for _, l := range f.layout {
		if err := f.make(l); err != nil {
			return fmt.Errorf("make nftables table %s %s: %w", l.familyName, f.opts.Table, err)
		}
	}
	return nil
}

// rebuild makes flushed tables anew, with the ticket in force for the rest of
// its time, so that the addresses stay reachable and fenced.
func (f *Fence) rebuild() error {
	if err := f.prepare(); err != nil {
		return err
	}
	left := f.inForce.end.Sub(boottime.Now())
	if left < time.Millisecond {
		return nil
	}
	return f.apply(func(c *nftables.Conn, l layout) error {
		if err := l.arm(c, f.opts.Addresses, f.inForce.slot, left); err != nil {
			return err
		}
		return l.permit(c, f.opts.Addresses, f.inForce.slot)
	})
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
		f.hangUp() // so that no answer of a failed transaction is left for the next to read
	}
	return err
}

// conn returns the socket, which stays open: closing one waits for an RCU grace
// period (5 to 17 ms) behind a transaction that deleted something
// (net/netfilter/nf_tables_api.c, nft_rcv_nl_event).
func (f *Fence) conn() (*nftables.Conn, error) {
	if f.socket == nil {
		opts := []nftables.ConnOption{nftables.AsLasting()}
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

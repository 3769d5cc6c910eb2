// Package fence stops a node from answering for addresses at a deadline, whatever has become of the
// process that added them.
//
// The fence is nftables tables of vipd's own, for ARP, IPv4 and IPv6. For each packet, the kernel
// looks up the address in sets of these tables: answers for a fenced address, and packets to that
// address, pass only while an element with a timeout exists. The kernel removes the element by
// itself, with an accuracy of milliseconds, also when the process was killed or stopped, or is
// late.
//
//	guard   where a table looks: a hook, and the address in a packet (guard.go)
//	source  what decides until when a group may be answered for, for example the Lease
//	Gate    what one source decides for one group of addresses (gate.go)
//
// A group is answered for only if every source that fences the group permits it.
//
// The timer must not start late. A timeout that the process computes and passes to the kernel after
// a pause would end after the lease. So there are two steps:
//
//	Arm    before the lease write is sent: the kernel starts the timer of a new
//	       ticket, and that ticket permits nothing yet
//	Permit after the write was answered: the ticket is now in force
//
// Arm comes before the send time that the lease counts from, so the timer ends no later than the
// lease. A late Permit permits nothing, because its ticket has ended.
//
// Other programs may change nftables as well: a firewall that reloads flushes every table. Watch
// reports such a change, Intact detects the damage, and Repair repairs the tables. A table that is
// made anew starts closed and opens after that (rebuild.go).
//
// Package fence does not add or remove addresses (package netif does), and does not decide which
// node may hold them.
package fence

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// ErrUnsupported means that this kernel has no nftables, or nftables without the ARP family.
var ErrUnsupported = errors.New("no nftables in this kernel")

// linger is how long the fence lasts after the end of the longest recent ticket. The fence must
// outlast the address, whose valid_lft ends up to 3.3 s after the ticket. After linger the tables
// have no effect: a killed vipd that never comes back must not keep the next manager of the address
// from using it.
const linger = 30 * time.Second

// longest bounds the length of an earlier process's ticket (election.MaxLease).
const longest = time.Minute

// Source is what decides until when a group of addresses may be answered for. The name of a Source
// is part of the names of sets and chains.
type Source string

// Lease is the Lease that this node holds.
const Lease Source = "lease"

// Options configures a Fence.
type Options struct {
	// Table is the name of all tables, see TableName; nothing outside them is touched.
	Table string
	// Groups are the groups of addresses; each group is fenced independently.
	Groups [][]netip.Addr
	// Sources are the sources that may fence a group.
	Sources []Source
	// NetNS is a file descriptor of the network namespace; 0 means the caller's.
	NetNS int
	Log   *zap.Logger
	// Kernel stores the tables; nil is nftables.
	Kernel Kernel
	// Now is the clock; nil is CLOCK_BOOTTIME.
	Now boottime.Clock
}

// tablePrefix is the prefix of the names of vipd's tables.
const tablePrefix = "vipd-"

// TableName returns the name of the tables of a process with this first address. nft reads no colon
// in a name, and no address has an underscore.
func TableName(first netip.Addr) string {
	return tablePrefix + strings.ReplaceAll(first.WithZone("").String(), ":", "_")
}

// Fence is safe for concurrent use. Each call returns within half a second (Prepare: 10 s), with
// ErrTimeout if the kernel does not answer.
type Fence struct {
	opts   Options
	kernel Kernel
	nft    *nft // the same kernel, unless Options sets another one; see Watch
	now    boottime.Clock
	gates  []*Gate // ordered by group, then by source
	// timeout is callTimeout; tests of the kernel use a longer one, for busy machines.
	timeout time.Duration

	slot chan struct{} // one slot; its owner may use the fields below

	tickets Ticket // the last ticket
	have    state  // content of the tables
	pending state  // or this content, while unsure
	made    bool   // vipd's tables exist, unless another program deleted them
	unsure  bool   // a change failed, and may have taken effect
	looked  looked

	journal journal // written by Watch
}

// New returns a Fence that has touched nothing yet: call Prepare.
func New(opts Options) *Fence {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	if opts.Now == nil {
		opts.Now = boottime.Now
	}
	f := &Fence{opts: opts, kernel: opts.Kernel, now: opts.Now, timeout: callTimeout, slot: make(chan struct{}, 1)}
	for i := range len(opts.Groups) * len(opts.Sources) {
		f.gates = append(f.gates, &Gate{fence: f, index: i})
	}
	f.forget()
	if f.kernel == nil {
		f.nft = newNft(opts)
		f.kernel = f.nft
	}
	return f
}

// Prepare makes the tables, or takes over the tables of an earlier process with the time that is
// left in them, so that a restart loses no packet. If those tables are not as they were made, or
// differ in their tickets, their effect is not known, and the addresses are silent until a Permit. ErrUnsupported means that this
// kernel cannot fence at all.
func (f *Fence) Prepare() error {
	_, err := serialize(f, prepareTimeout, "prepare nftables tables "+f.opts.Table, func() (struct{}, error) { return struct{}{}, unsupported(f.prepareAgain()) })
	return err
}

// maxTries bounds the attempts to prepare the tables: another program may flush the ruleset
// meanwhile, for example a firewall that starts with the machine.
const maxTries = 5

func (f *Fence) prepareAgain() (err error) {
	for range maxTries {
		if err = f.prepare(); err == nil {
			return nil
		}
		f.kernel.Close()
	}
	return err
}

func (f *Fence) prepare() error {
	f.forget()
	s, err := f.lookAndLearn()
	if err != nil {
		return err
	}
	if s.Whole && s.agree() {
		f.made = true
		for i, g := range f.gates {
			g.takeOver(s, s.Gates[i])
		}
		return nil
	}
	if s.Found {
		for i := range f.have {
			f.tickets++
			f.have[i][0] = armed{ticket: f.tickets, end: s.before, latest: s.before, lasts: s.before.Add(longest)}
		}
	}
	if err := f.rebuild(); err != nil {
		return err
	}
	_, err = f.lookAndLearn()
	return err
}

// lookAndLearn reads the tables. If they differ from what was made, the kernel may only list them
// in another form.
func (f *Fence) lookAndLearn() (observation, error) {
	s, err := f.look()
	if err != nil || !s.Found || s.Whole {
		return s, err
	}
	if err := f.kernel.Learn(); err != nil {
		return s, err
	}
	return f.look()
}

// forget resets the state to that without tables.
func (f *Fence) forget() {
	f.have, f.pending, f.unsure, f.looked = make(state, len(f.gates)), make(state, len(f.gates)), false, looked{}
}

// Remove deletes the tables. Call Remove only when the addresses are known to be gone.
func (f *Fence) Remove() error {
	return f.run("remove nftables tables "+f.opts.Table, func() error {
		if err := f.kernel.Transact(Change{Verb: Delete}); err != nil {
			f.markUnsure()
			return err
		}
		f.forget()
		f.made = false
		return nil
	})
}

// Close closes the socket. The tables stay; see Remove.
func (f *Fence) Close() {
	_ = f.run("close socket", func() error { f.kernel.Close(); return nil })
}

// unsupported tells a kernel without nftables from a kernel that refuses a change.
func unsupported(err error) error {
	for _, errno := range []unix.Errno{unix.EOPNOTSUPP, unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT, unix.EINVAL, unix.ENOENT} {
		if errors.Is(err, errno) {
			return fmt.Errorf("%w (%w)", ErrUnsupported, err)
		}
	}
	return err
}

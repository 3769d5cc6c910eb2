package fence

import (
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// spy observes each transaction of a fence, after the transaction and before anything else.
type spy struct {
	Kernel
	saw func(changes []Change, err error) error
}

func (s spy) Transact(changes ...Change) error { return s.saw(changes, s.Kernel.Transact(changes...)) }

// spied lets a function observe each transaction and replace its error.
func (r *rig) spied(saw func(changes []Change, err error) error) {
	r.fence.kernel = spy{r.fence.kernel, saw}
}

func makes(changes []Change) bool {
	return slices.ContainsFunc(changes, func(c Change) bool { return c.Verb == Make })
}

// TestRepairIsClosedFirst sends ARP requests between the transactions of a repair, where a process
// may be stopped or killed.
func TestRepairIsClosedFirst(t *testing.T) {
	t.Parallel()
	for name, script := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.opened(t, 10*time.Second)
			if r.gate().permitted != 1 { // the damages are in slot 2
				r.opened(t, 10*time.Second)
			}
			transactions := 0
			r.spied(func(changes []Change, err error) error {
				transactions++
				r.expect(t, !makes(changes), "between the transactions of a repair")
				return err
			})
			r.damage(t, script)
			must(t, r.fence.Repair())
			r.expect(t, true, "repaired")
			if transactions < 2 { // there are more, if the requests took so long that the timers had to start anew
				t.Errorf("repaired in %d transactions, want one that closes and one that permits", transactions)
			}
		})
	}
}

// patiently repeats a call until an earlier call that timed out has ended.
func patiently(do func() error) error {
	for {
		if err := do(); !errors.Is(err, ErrTimeout) {
			return err
		}
	}
}

// TestRepairThatFailsHalfWay: what may have been permitted is not permitted, until a change is
// known to have been made.
func TestRepairThatFailsHalfWay(t *testing.T) {
	for _, failing := range []int{1, 2} {
		r := newRig(t)
		end := r.opened(t, 10*time.Second)
		transactions := 0
		r.nft(t, "flush ruleset")
		r.spied(func(_ []Change, err error) error {
			if transactions++; transactions == failing {
				return errors.Join(err, unix.ENOBUFS)
			}
			return err
		})
		if r.fence.Repair() == nil {
			t.Fatalf("no error, with transaction %d failed", failing)
		}
		r.expect(t, failing > 1, "after a repair that failed") // the second transaction did permit
		r.expectIntact(t, failing > 1, "after a repair that failed")
		must(t, r.fence.Repair())
		r.expect(t, true, "repaired again")
		r.endsBy(t, end)
	}
}

// loseAnswers makes the kernel's answers to the next exchange overflow the socket; with told, the
// kernel reports that (ENOBUFS), otherwise the answers never come.
func (r *rig) loseAnswers(t *testing.T, told bool) {
	t.Helper()
	must(t, r.fence.nft.open())
	r.fence.nft.first, r.fence.nft.later = answerTimeout, answerTimeout
	must(t, r.fence.nft.socket.SetReadBuffer(1)) // the kernel sets 2304 (SOCK_MIN_RCVBUF): three answers
	must(t, r.fence.nft.socket.SetOption(netlink.NoENOBUFS, !told))
}

// TestLostAnswersOpenAndCloseNothing: after a lost answer it is not known whether the change was
// committed. The tables are whole, and are not made anew.
func TestLostAnswersOpenAndCloseNothing(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		told bool
		want error
	}{"told": {true, unix.ENOBUFS}, "never": {false, os.ErrDeadlineExceeded}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.opened(t, 10*time.Second)
			r.spied(func(changes []Change, err error) error {
				if makes(changes) {
					t.Error("made the tables anew")
				}
				r.expect(t, true, "after a transaction")
				return err
			})
			for _, next := range []func() boottime.Instant{
				func() boottime.Instant { return r.opened(t, 10*time.Second) },
				func() boottime.Instant { return r.looked(t) },
			} {
				r.loseAnswers(t, tt.told)
				if _, err := r.gate().Arm(10 * time.Second); !errors.Is(err, tt.want) {
					t.Fatalf("Arm = %v, want %v", err, tt.want)
				}
				r.expect(t, true, "the ticket before goes on")
				end := next()
				r.expectIntact(t, true, "after it")
				r.endsBy(t, end)
			}
		})
	}
}

// looked makes the fence read the tables after a change, and returns when the ticket in force ends.
func (r *rig) looked(t *testing.T) boottime.Instant {
	t.Helper()
	r.expectIntact(t, true, "a change that was made, and its answers lost")
	return r.gate().tickets()[r.gate().permitted].latest
}

// TestLostAnswerOfAnArm: the started timer belongs to no ticket, in particular not to the ticket
// that waited in that slot for its Permit.
func TestLostAnswerOfAnArm(t *testing.T) {
	r := newRig(t)
	ticket, err := r.gate().Arm(10 * time.Second)
	must(t, err)
	_, err = r.gate().Arm(10 * time.Second)
	must(t, err)
	r.loseAnswers(t, true)
	if _, err := r.gate().Arm(time.Minute); err == nil {
		t.Fatal("no error with the answers lost")
	}
	if err := r.gate().Permit(ticket); !errors.Is(err, ErrSuperseded) {
		t.Fatalf("Permit = %v, want %v: the slot's timer is another one", err, ErrSuperseded)
	}
	r.expect(t, false, "nothing was permitted")
}

// TestLostAnswerOfAForbid: the fence is closed, whether that is known or not.
func TestLostAnswerOfAForbid(t *testing.T) {
	for _, made := range []bool{true, false} {
		r := newRig(t)
		r.opened(t, 10*time.Second)
		kernel := r.fence.kernel
		r.fence.kernel = deaf{kernel, made}
		if r.gate().Forbid() == nil {
			t.Fatal("no error with the answers lost")
		}
		r.fence.kernel = kernel
		r.expect(t, !made, "after a Forbid that failed")
		r.expectIntact(t, made, "after a Forbid that failed")
		must(t, r.fence.Repair())
		r.expect(t, false, "repaired")
		r.nft(t, "flush ruleset")
		must(t, r.fence.Repair())
		r.expect(t, false, "repaired again: it is still known what is fenced")
	}
}

// deaf loses the answer to each transaction, whether the transaction was committed or not.
type deaf struct {
	Kernel
	made bool
}

func (d deaf) Transact(changes ...Change) error {
	if d.made {
		_ = d.Kernel.Transact(changes...)
	}
	return unix.ENOBUFS
}

// TestHungCallTimesOut: a thread that is inside the kernel cannot be interrupted.
func TestHungCallTimesOut(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	end := r.opened(t, time.Minute)
	r.fence.timeout = callTimeout
	entered, released := make(chan struct{}), make(chan struct{})
	hangs := sync.OnceFunc(func() {
		close(entered)
		<-released
	})
	r.spied(func(_ []Change, err error) error {
		hangs()
		return err
	})
	hung := make(chan error)
	go func() {
		_, err := r.gate().Arm(2 * time.Minute)
		hung <- err
	}()
	<-entered
	for what, call := range map[string]func() error{
		"Forbid": r.gate().Forbid,
		"Permit": func() error { return r.gate().Permit(1) },
		"Intact": func() error { _, err := r.fence.Intact(); return err },
		"Remove": r.fence.Remove,
	} {
		if err := call(); !errors.Is(err, ErrTimeout) {
			t.Errorf("%s = %v while a call hangs, want %v", what, err, ErrTimeout)
		}
	}
	if err := <-hung; !errors.Is(err, ErrTimeout) {
		t.Errorf("Arm = %v, want %v", err, ErrTimeout)
	}
	r.expect(t, true, "none of them did anything")
	close(released)
	r.fence.timeout = time.Minute
	must(t, r.fence.Repair()) // after the Arm
	r.expectIntact(t, true, "an Arm that nobody waited for")
	r.endsBy(t, end)
	must(t, r.gate().Forbid())
	r.expect(t, false, "forbidden")
}

package vip

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/vipd-io/vipd/internal/bubble"
	"github.com/vipd-io/vipd/pkg/boottime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is everything that a Manager acts on, in a synctest bubble: Network, Fence, Announcer and
// Election in one type, so that the order of their calls is visible.
type world struct {
	t       *testing.T
	start   time.Time
	manager *Manager
	stop    context.CancelFunc
	done    chan error
	logs    *observer.ObservedLogs

	mu            sync.Mutex
	calls         []string
	diverted      bool          // the last Divert succeeded
	forbidOnce    bool          // forbidErr applies to one Forbid
	last, removed time.Duration // when the last call was made, and the last Remove
	seen          Observation
	// damaged means that the fence is damaged. probes counts calls of Probe.
	damaged bool
	probes  int
	// The errors that calls return.
	lookErr, permitErr, forbidErr, putErr, divertErr, removeErr error
	// suspended is how long the machine was suspended, which CLOCK_BOOTTIME counts and timers do
	// not.
	suspended atomic.Int64
	// put, permit, repaired and giveBack, if set, run inside Put, Permit, Repair and GiveBack.
	put, permit, repaired func()

	giveBack func(context.Context) error
	// hangs are calls that do not return before their channel is closed.
	hangs map[string]chan struct{}
}

// newWorld is a node with an idle link, and a manager that is not running.
func newWorld(t *testing.T, slack time.Duration) *world {
	w := &world{t: t, start: time.Now(), seen: Observation{Places: up}, done: make(chan error, 1)}
	core, logs := observer.New(zapcore.InfoLevel)
	w.logs = logs
	w.manager = New(Options{Node: "n1", Network: w, Fence: w, Announcer: w, Election: w, Slack: slack, Now: w.now, Log: zap.New(core)})
	return w
}

// now is CLOCK_BOOTTIME: the clock of the bubble.
func (w *world) now() boottime.Instant {
	return boottime.Instant(time.Since(w.start) + time.Hour + time.Duration(w.suspended.Load()))
}

// suspend suspends the machine past any deadline.
func (w *world) suspend() { w.suspended.Add(int64(time.Hour)) }

func (w *world) run() {
	ctx, cancel := context.WithCancel(w.t.Context())
	w.stop = cancel
	go func() { w.done <- w.manager.Run(ctx) }()
	synctest.Wait()
}

// end stops the manager, and returns its error and how long it took.
func (w *world) end() (time.Duration, error) {
	start := time.Now()
	w.stop()
	err := <-w.done
	return time.Since(start), err
}

// grant passes a grant with this term and a ticket of the same number.
func (w *world) grant(term int, d time.Duration) {
	w.manager.Granted(Grant{Held: true, Known: true, Term: term, Until: w.now().Add(d), Ticket: uint64(term), Holder: "n1", Why: "lease taken"})
	synctest.Wait()
}

func (w *world) lost(to string) {
	w.manager.Granted(Grant{Known: true, Term: 9, Holder: to, Why: "the lease went to " + to})
	synctest.Wait()
}

// change changes the world like the kernel or another program, and reports the change.
func (w *world) change(f func()) {
	w.mu.Lock()
	f()
	w.mu.Unlock()
	w.manager.Changed()
	synctest.Wait()
}

func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// expect compares the calls since the last expect.
func (w *world) expect(when string, want ...string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := 1; i < len(w.calls); i++ { // these two calls run concurrently
		if w.calls[i-1] == "remove" && w.calls[i] == "forbid" {
			w.calls[i-1], w.calls[i] = "forbid", "remove"
		}
	}
	if d := cmp.Diff(want, w.calls); d != "" {
		w.t.Errorf("%s: calls (-want +got):\n%s", when, d)
	}
	w.calls = nil
}

func (w *world) expectMine(when string, want bool) {
	w.t.Helper()
	if got := w.manager.Holds(); got != want {
		w.t.Errorf("%s: Holds = %t, want %t", when, got, want)
	}
}

func (w *world) messages() []string {
	var out []string
	for _, e := range w.logs.TakeAll() {
		out = append(out, e.Message)
	}
	return out
}

// call records a call without taking the lock.
func (w *world) call(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, fmt.Sprintf(format, args...))
	w.last = time.Since(w.start)
}

// hang blocks while calls of that name are to hang.
func (w *world) hang(name string) {
	w.mu.Lock()
	until := w.hangs[name]
	w.mu.Unlock()
	if until != nil {
		<-until
	}
}

func (w *world) Look() (Observation, error) {
	w.hang("look")
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen, w.lookErr
}

func (w *world) Put(p Places, valid time.Duration) error {
	w.call("put %s %s", p.First().MAC, valid)
	w.hang("put")
	if w.put != nil {
		w.put()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.putErr == nil {
		w.seen.Present, w.seen.Marked = Whole, true
	}
	return w.putErr
}

// Divert is recorded only if it must not be called.
func (w *world) Divert() error {
	w.hang("divert")
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.calls) > 0 && w.calls[len(w.calls)-1] == "remove" {
		w.t.Error("diverted what is gone")
	}
	w.diverted = w.divertErr == nil
	return w.divertErr
}

func (w *world) Remove() error {
	w.call("remove")
	w.removed = time.Since(w.start)
	w.hang("remove")
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.removeErr == nil {
		w.seen.Present, w.seen.Removable, w.seen.Marked = Absent, false, false
	}
	return w.removeErr
}

func (w *world) Permit(ticket uint64) error {
	w.call("permit %d", ticket)
	w.hang("permit")
	if w.permit != nil {
		w.permit()
	}
	return w.permitErr
}

func (w *world) Forbid() error {
	w.call("forbid")
	w.hang("forbid")
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.forbidErr
	if w.forbidOnce {
		w.forbidErr = nil
	}
	return err
}

func (w *world) Clear() error {
	w.call("clear")
	w.hang("clear")
	return nil
}

func (w *world) Announce(p Places) { w.call("announce %s", p.First().MAC) }
func (w *world) Silence()          { w.call("silence") }

func (w *world) Campaign(_ context.Context, c Campaign) {
	if c.Eligible {
		w.call("%s", strings.TrimSpace(fmt.Sprintf("campaign %s %s", c.MAC, manner(c))))
	} else {
		w.call("no campaign %s", c.MAC)
	}
}

// Probe is not recorded: its order does not matter.
func (w *world) Probe(Places) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.probes++
}

func (w *world) Inquire(Places) { w.call("inquire") }

func (w *world) Defend() { w.call("defend") }

func (w *world) Intact() (bool, error) {
	w.hang("intact")
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.damaged, nil
}

func (w *world) Repair() error {
	w.call("repair")
	if w.repaired != nil {
		w.repaired()
	}
	w.hang("repair")
	w.mu.Lock()
	defer w.mu.Unlock()
	w.damaged = false
	return nil
}

func (w *world) Confirm(context.Context)              { w.call("confirm") }
func (w *world) Refuse(_ context.Context, why string) { w.call("refuse: %s", why) }
func (w *world) Offer(context.Context)                { w.call("offer") }

func (w *world) GiveBack(ctx context.Context, a GiveBack) error {
	w.call("%s", strings.TrimSpace("give back "+a.Successor))
	if w.giveBack != nil {
		return w.giveBack(ctx)
	}
	return nil
}

// manner describes how long a candidate lets others go first.
func manner(c Campaign) string {
	out := ""
	if c.HoldBack > 0 {
		out += fmt.Sprintf("after %s ", c.HoldBack)
	}
	if c.Yield > 0 {
		out += fmt.Sprintf("yielding %s", c.Yield)
	}
	if c.Ending {
		out += "ending"
	}
	return out
}

const hold = 2850 * time.Millisecond // approximately, for a lease of 3 s

// aged is the age of a grant at which a renewal also refreshes the addresses.
const aged = 1500 * time.Millisecond

// holding returns a world whose manager holds term 1 since now.
func holding(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, 0)
	w.run()
	w.grant(1, hold)
	w.expect("claim", "campaign a", "permit 1", "put a 4s", "announce a")
	return w
}

func TestOrderOfCalls(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := holding(t)
		w.pass(time.Second)
		w.grant(1, hold)
		w.expect("renewal", "permit 1")
		w.pass(time.Second)
		w.grant(1, hold)
		w.expect("the next one, which the addresses would not outlast", "permit 1", "put a 4s")
		w.grant(1, 5*hold)
		w.expect("longer", "permit 1", "put a 16s")
		w.grant(1, hold)
		w.expect("shorter: the fence ends, and must not be outlasted", "permit 1", "put a 4s")
		w.lost("n2")
		w.expect("loss", "silence", "forbid", "remove")
		w.pass(5 * time.Second)
		w.expect("stands by")
		w.grant(10, hold)
		w.expect("claim after a loss", "permit 10", "put a 4s", "announce a")
		took, err := w.end()
		if err != nil || took != 0 {
			t.Errorf("Run = %v after %s", err, took)
		}
		w.expect("end", "silence", "forbid", "no campaign a", "give back", "remove", "clear")
		want := []string{"holding the VIP", "withdrawing the VIP", "standing by", "holding the VIP", "withdrawing the VIP", "standing by"}
		if d := cmp.Diff(want, w.messages()); d != "" {
			t.Errorf("log (-want +got):\n%s", d)
		}
	})
}

func TestEndWhileStandingBy(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 0)
		w.run()
		w.lost("n2")
		w.expect("stands by", "campaign a")
		if took, err := w.end(); err != nil || took != 0 {
			t.Errorf("Run = %v after %s", err, took)
		}
		// A claim may be in flight, so the grant is given back in any case.
		w.expect("end", "no campaign a", "give back", "clear")
	})
}

func TestEndWhileGiveBackHangs(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := holding(t)
		w.giveBack = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		took, err := w.end()
		if err != nil || took >= time.Second {
			t.Errorf("Run = %v after %s, want nil in less than a second", err, took)
		}
		w.expect("end", "silence", "forbid", "no campaign a", "give back", "remove", "clear")
	})
}

// TestEndDuringGiveBack: ctx ends while a hand-over hangs, and there is no second time limit.
func TestEndDuringGiveBack(t *testing.T) {
	for _, since := range []time.Duration{0, 10 * time.Millisecond, 400 * time.Millisecond, giveBackBudget - 1} {
		t.Run(since.String(), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := holding(t)
				calls := 0
				w.giveBack = func(ctx context.Context) error { calls++; <-ctx.Done(); return ctx.Err() }
				w.change(func() { w.seen.Places = down })
				w.pass(linkDownTimeout + since)
				took, err := w.end()
				if err != nil || took >= time.Second {
					t.Errorf("Run = %v after %s, want nil in less than a second", err, took)
				}
				if calls != 2 {
					t.Errorf("%d calls to give the grant back, want the one that hung and another", calls)
				}
			})
		})
	}
}

// TestEndBeforeTheFirstLook: an earlier process left its address, and ctx has ended already.
func TestEndBeforeTheFirstLook(t *testing.T) {
	for range 20 { // select chooses at random
		bubble.Test(t, func(t *testing.T) {
			w := newWorld(t, 0)
			w.seen.Present, w.seen.Marked = Whole, true
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := w.manager.Run(ctx); err != nil {
				t.Errorf("Run = %v", err)
			}
			w.expect("end", "campaign a", "silence", "forbid", "no campaign a", "give back", "remove", "clear")
		})
	}
}

// TestEndWithoutALook: without a successful look, the address may be here.
func TestEndWithoutALook(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 0)
		w.lookErr, w.removeErr = errKernel, errKernel
		w.run()
		if _, err := w.end(); !errors.Is(err, ErrNotWithdrawn) {
			t.Errorf("Run = %v, want %v", err, ErrNotWithdrawn)
		}
	})
}

// TestRemoveFails: it is not known whether the address is gone, so no other node may get the lease
// until it is gone.
func TestRemoveFails(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := holding(t)
		w.removeErr = errKernel
		w.lost("n2")
		w.pass(2*withdrawRetry + time.Millisecond)
		w.expect("retries", "silence", "forbid", "remove", "silence", "forbid", "remove", "silence", "forbid", "remove")
		w.expectMine("withdrawing", false)
		w.change(func() { w.removeErr = nil })
		w.pass(withdrawRetry)
		w.expect("removed at last", "silence", "forbid", "remove")

		w.grant(10, hold)
		w.expect("claim", "permit 10", "put a 4s", "announce a")
		w.removeErr, w.divertErr = errKernel, errKernel
		took, err := w.end()
		if !errors.Is(err, ErrNotWithdrawn) || took != withdrawBudget {
			t.Errorf("Run = %v after %s, want %v after %s", err, took, ErrNotWithdrawn, withdrawBudget)
		}
		for _, c := range w.calls {
			if c == "give back" || c == "clear" {
				t.Errorf("%s, with the address still here", c)
			}
		}
	})
}

// TestRemoveFailsAfterARelease: the node is silent by the fence and by the missing route, and keeps
// trying.
func TestRemoveFailsAfterARelease(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := holding(t)
		w.removeErr = errKernel
		w.manager.Serves(Serving{Local: NotReady, Why: "nobody listens", Peers: []Peer{better}})
		synctest.Wait()
		w.expect("handed over", "silence", "forbid", "no campaign a", "give back n2", "remove")
		w.pass((maxTries - 1) * tryPause)
		w.expect("removed in vain", "remove", "remove")
		w.pass(withdrawRetry)
		w.expect("again", "silence", "forbid", "remove")
		w.change(func() { w.removeErr = nil })
		w.pass(withdrawRetry)
		w.expect("removed at last", "silence", "forbid", "remove", "campaign a after 3s")
		if _, err := w.end(); err != nil {
			t.Error(err)
		}
	})
}

// TestReleaseTakesLong: the end of the connections and the removal do not wait for the release.
func TestReleaseTakesLong(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := holding(t)
		w.giveBack = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		began := time.Since(w.start)
		took, err := w.end()
		if err != nil || took != giveBackBudget {
			t.Errorf("Run = %v after %s", err, took)
		}
		w.expect("end", "silence", "forbid", "no campaign a", "give back", "remove", "clear")
		if w.removed-began != closeTimeout {
			t.Errorf("removed %s after the release began, want %s", w.removed-began, closeTimeout)
		}
	})
}

// TestReleaseNeedsFenceAndRoute: if it is not certain that the fence is closed and the route is
// removed, the address has to be gone before the release.
func TestReleaseNeedsFenceAndRoute(t *testing.T) {
	for name, set := range map[string]func(*world){
		"not diverted": func(w *world) { w.divertErr = errKernel },
		"no fence":     func(w *world) { w.manager.opts.Slack = time.Second },
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := holding(t)
				set(w)
				if took, err := w.end(); err != nil || took != 0 {
					t.Errorf("Run = %v after %s", err, took)
				}
				w.expect("end", "silence", "forbid", "remove", "no campaign a", "give back", "clear")
			})
		})
	}
}

// TestForbidFailsOnce: after a failed Forbid, the node falls silent at the next attempt, and not
// only after the call to the network, which hangs, has timed out.
func TestForbidFailsOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := holding(t)
		release := w.hanging("divert", "remove")
		w.forbidErr, w.forbidOnce = errKernel, true
		w.lost("n2")
		w.pass(tryPause)
		w.expect("lost", "silence", "forbid", "forbid")
		release()
		_, _ = w.end()
	})
}

// TestForbidFails: the address is gone, so the fence has nothing to fence.
func TestForbidFails(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := holding(t)
		w.forbidErr = errKernel
		if took, err := w.end(); err != nil || took > closeTimeout {
			t.Errorf("Run = %v after %s", err, took)
		}
		w.expect("end", "silence", "forbid", "forbid", "forbid", "forbid", "forbid", "forbid", "remove", "no campaign a", "give back", "clear")
	})
}

// TestDeadline: there are no more events, for example because the election hangs.
func TestDeadline(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := holding(t)
		at := time.Since(w.start) + hold
		w.pass(hold - 1)
		w.expect("before the deadline")
		w.pass(1)
		w.expect("deadline", "silence", "forbid", "remove")
		if w.last != at {
			t.Errorf("withdrew at %s, want %s", w.last, at)
		}
		// A late report of the election about the same grant adds no address.
		w.grant(1, 0)
		w.expect("late")
		_, _ = w.end()
	})
}

func TestMine(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 0)
		w.run()
		w.expectMine("before", false)
		w.put = func() { w.expectMine("while it is put up", false) }
		w.grant(1, hold)
		w.put = nil
		w.expectMine("held", true)
		w.pass(hold - 100*time.Millisecond - 1)
		w.expectMine("just more than 100 ms left", true)
		w.pass(1)
		w.expectMine("100 ms left", false)
		w.grant(1, hold)
		w.expectMine("renewed", true)
		w.change(func() { w.removeErr = errKernel })
		w.lost("n2")
		w.expectMine("withdrawn, and perhaps still here", false)
		w.change(func() { w.removeErr = nil })
		_, _ = w.end()
		w.expectMine("ended", false)
	})
}

// TestLookFails: a failed look does not mean absent, neither for the address nor for the link.
func TestLookFails(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := holding(t)
		w.messages()
		w.change(func() { w.lookErr, w.seen = errKernel, Observation{Places: at(Link{})} })
		for range 5 {
			w.pass(aged)
			w.grant(1, hold)
			w.expect("renewal", "permit 1", "put a 4s")
		}
		w.change(func() { w.lookErr, w.seen = nil, Observation{Places: up, Present: Whole, Marked: true} })
		w.expect("looked again")
		want := []string{"interfaces and addresses not read, using the last known state", "interface usable"}
		if d := cmp.Diff(want, w.messages()); d != "" {
			t.Errorf("log (-want +got):\n%s", d)
		}
		_, _ = w.end()
	})
}

func TestNoLink(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 0)
		w.seen, w.lookErr = Observation{Places: at(Link{})}, fmt.Errorf("%w: eth0 is not there", ErrNoLink)
		w.run()
		w.expect("no link", "no campaign ")
		w.pass(time.Minute)
		w.expect("a minute later")
		w.change(func() { w.seen, w.lookErr = Observation{Places: up}, nil })
		w.expect("link there", "campaign a")
		w.grant(1, hold)
		w.expect("claim", "permit 1", "put a 4s", "announce a")

		// The link does not come back. The node's MAC in the election stays the same: the node has
		// to give back a lease that it wrote as its own.
		w.change(func() { w.seen, w.lookErr = Observation{Places: at(Link{})}, ErrNoLink })
		w.expect("link gone", "no campaign a")
		w.pass(linkDownTimeout)
		w.expect("gone for long", "silence", "forbid", "give back", "remove", "clear")
		want := []string{"waiting for a usable interface", "interface usable", "holding the VIP", "waiting for a usable interface", "withdrawing the VIP", "standing by"}
		if d := cmp.Diff(want, w.messages()); d != "" {
			t.Errorf("log (-want +got):\n%s", d)
		}
		_, _ = w.end()
	})
}

func TestRepair(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := holding(t)
		gone := func() { w.seen.Present, w.seen.Marked = Absent, false }
		w.change(gone)
		w.expect("removed by hand", "permit 1", "put a 4s", "announce a")
		w.change(gone)
		w.expect("removed again, at once")
		w.pass(repairPause)
		w.expect("a pause later", "permit 1", "put a 4s", "announce a")
		w.pass(repairPause)
		// A lost event costs a second at most.
		w.mu.Lock()
		gone()
		w.mu.Unlock()
		w.pass(time.Second)
		w.expect("removed without an event", "permit 1", "put a 3s", "announce a")
		w.change(func() { w.seen.Places = at(Link{Index: 9, MAC: "b", Up: true}) })
		w.pass(repairPause)
		w.expect("link made anew", "campaign b", "permit 1", "put b 3s", "announce b")
		_, _ = w.end()
	})
}

func TestLinkDown(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := holding(t)
		w.change(func() { w.seen.Places = down })
		w.expect("down", "no campaign a")
		w.pass(linkDownTimeout - 1)
		w.expect("down for less than a second")
		w.change(func() { w.seen.Places = up })
		w.expect("up again", "permit 1", "put a 3s", "announce a", "campaign a")
		w.change(func() { w.seen.Places = down })
		w.pass(linkDownTimeout)
		w.expect("down for a second", "no campaign a", "silence", "forbid", "give back", "remove", "clear")
		w.change(func() { w.seen.Places = up })
		w.expect("up after all", "campaign a")
		_, _ = w.end()
	})
}

// TestLinkServesAgainUnreported: the kernel reports addresses and links to vipd, and no routes. A
// holder that looked while its route was missing for a moment, as when NetworkManager adds an address
// and then its route, keeps the VIP.
func TestLinkServesAgainUnreported(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := holding(t)
		w.grant(1, time.Minute)
		w.pass(10 * time.Second) // until all else that wakes the Manager is over
		w.expect("renewed", "permit 1", "put a 1m1s")
		w.change(func() { w.seen.Places = down })
		w.expect("the route is missing", "no campaign a")
		w.pass(10 * time.Millisecond)
		w.mu.Lock()
		w.seen.Places = up
		w.mu.Unlock()
		for range 10 { // as the alarm does, and other inputs
			w.pass(linkDownTimeout / 10)
			w.manager.Wake()
		}
		w.pass(0)
		w.expect("the route was back after 10 ms", "permit 1", "put a 51s", "announce a", "campaign a")
		_, _ = w.end()
	})
}

// TestCannotPut: a node that cannot add the address gives the grant back and lets others try.
func TestCannotPut(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 0)
		w.putErr = errKernel
		w.run()
		w.grant(1, hold)
		w.expect("claim", "campaign a", "permit 1", "put a 4s", "silence", "forbid", "no campaign a", "give back", "remove", "clear")
		w.expectMine("not put up", false)
		w.pass(repairPause - 1)
		w.expect("before the retry")
		w.pass(1)
		w.expect("retry, as nobody else is known", "campaign a")
		_, _ = w.end()
	})
}

// TestRetryAfterAClaimThatFailed: a node leaves the addresses to the others for a while; without a
// known successor it tries again soon, with growing pauses.
func TestRetryAfterAClaimThatFailed(t *testing.T) {
	var s State
	for _, want := range []time.Duration{200, 400, 800, 1600, 3200, 5000, 5000} {
		if got := s.retry(); got != want*time.Millisecond {
			t.Errorf("alone, after %d failures: %s, want %s", s.Failed, got, want*time.Millisecond)
		}
		s.Failed++
	}
	s = State{Serving: Serving{Peers: []Peer{{Node: "n2", Ready: true}}}}
	if got := s.retry(); got != serveRetry {
		t.Errorf("with another node: %s, want %s", got, serveRetry)
	}
}

// TestSlack: without nftables, the lifetime of the address, in whole seconds, has to end early
// enough.
func TestSlack(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const slack = 1300 * time.Millisecond
		const hold = 3850 * time.Millisecond // of a lease of 4 s
		w := newWorld(t, slack)
		w.run()
		w.grant(1, hold)
		w.expect("claim", "campaign a", "permit 1", "put a 2s", "announce a")
		w.pass(time.Second)
		w.grant(1, hold)
		w.expect("renewal", "permit 1", "put a 2s")
		w.grant(1, slack+time.Second)
		w.expect("a renewal with one second to give", "permit 1", "put a 1s")
		w.grant(1, slack+time.Second-1)
		w.expect("a renewal with less than a second to give", "permit 1")
		w.lost("n2")
		w.expect("loss", "silence", "forbid", "remove")
		w.grant(2, slack+time.Second-1)
		w.expect("a claim with less than a second to give", "permit 2", "silence", "forbid", "remove", "no campaign a", "give back", "clear")
		_, _ = w.end()
	})
}

// TestNewestGrantCounts: the manager is busy while the election goes on.
func TestNewestGrantCounts(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := holding(t)
		w.pass(aged)
		busy := make(chan struct{})
		w.put = func() { <-busy }
		w.grant(1, hold)
		for i := range 10_000 {
			w.manager.Changed()
			w.manager.Granted(Grant{Held: true, Known: true, Term: 1, Until: w.now().Add(hold), Ticket: uint64(i + 2)})
		}
		w.put = nil
		close(busy)
		synctest.Wait()
		w.expect("storm", "permit 1", "put a 4s", "permit 10001")

		// The grant is lost and won again, and only the last report arrives: another node may have
		// announced itself meanwhile.
		w.pass(aged)
		busy = make(chan struct{})
		w.put = func() { <-busy }
		w.grant(1, hold)
		w.manager.Granted(Grant{Known: true, Term: 2, Holder: "n2"})
		w.manager.Granted(Grant{Held: true, Known: true, Term: 3, Until: w.now().Add(hold), Ticket: 3})
		w.put = nil
		close(busy)
		synctest.Wait()
		w.expect("another term", "permit 1", "put a 4s", "permit 3", "put a 4s", "announce a")

		// The last report says that the grant is lost.
		w.pass(aged)
		busy = make(chan struct{})
		w.put = func() { <-busy }
		w.grant(3, hold)
		w.manager.Granted(Grant{Held: true, Known: true, Term: 3, Until: w.now().Add(hold), Ticket: 4})
		w.manager.Granted(Grant{Known: true, Term: 4, Holder: "n2"})
		w.put = nil
		close(busy)
		synctest.Wait()
		w.expect("lost in the end", "permit 3", "put a 4s", "silence", "forbid", "remove")
		_, _ = w.end()
	})
}

// TestSuspended: after a suspend past the deadline, the kernel's timers still have time left,
// wherever the process was. On resuming, the Manager withdraws, and opens, refreshes and announces
// nothing before.
func TestSuspended(t *testing.T) {
	for _, tt := range []struct {
		name    string
		suspend func(*world)
		want    []string
	}{
		{"while nothing was to be done", func(w *world) { w.suspend(); w.manager.Wake() },
			[]string{"silence", "forbid", "remove"}},
		{"with an answer waiting", func(w *world) {
			until := w.now().Add(hold)
			w.suspend()
			w.manager.Granted(Grant{Held: true, Known: true, Term: 1, Until: until, Ticket: 2, Holder: "n1"})
		}, []string{"silence", "forbid", "remove"}},
		{"while a renewal was carried out", func(w *world) { w.permit = w.suspend; w.grant(1, hold); w.manager.Wake() },
			[]string{"permit 1", "silence", "forbid", "remove"}},
		{"while the fence was repaired", func(w *world) { w.repaired = w.suspend; w.change(func() { w.damaged = true }); w.manager.Wake() },
			[]string{"repair", "silence", "forbid", "no campaign a", "give back", "remove", "clear"}},
		{"with a link that had come back", func(w *world) {
			w.suspend()
			w.change(func() { w.seen.Places = at(Link{Index: 2, MAC: "b", Up: true}) })
		}, []string{"silence", "forbid", "remove", "campaign b"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := holding(t)
				tt.suspend(w)
				synctest.Wait()
				w.expect("woken up", tt.want...)
				w.expectMine("woken up", false)
				w.permit, w.repaired = nil, nil
				_, _ = w.end()
			})
		})
	}
}

// TestSuspendedInAClaim: the same, in a claim, before the first announcement.
func TestSuspendedInAClaim(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 0)
		w.run()
		w.permit = w.suspend
		w.grant(1, hold)
		w.expect("woken up", "campaign a", "permit 1", "silence", "forbid", "no campaign a", "give back", "remove", "clear")
		w.expectMine("woken up", false)
		w.permit = nil
		_, _ = w.end()
	})
}

// TestBusyPastTheDeadline: a call into the kernel took longer than the lease. The deadline is
// handled before any other input.
func TestBusyPastTheDeadline(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := holding(t)
		w.pass(aged)
		w.put = func() { time.Sleep(hold + time.Second) }
		w.grant(1, hold)
		w.pass(hold + 1)
		w.expectMine("deadline passed meanwhile", false)
		w.put = nil
		w.expect("at the deadline, still busy", "permit 1", "put a 4s", "silence", "forbid")
		w.grant(1, hold) // a renewal in the same term, which was answered meanwhile
		w.pass(time.Second)
		// The Manager waits for the call to return, because the call might add a removed address
		// again.
		w.expect("after it", "silence", "forbid", "remove", "permit 1", "put a 3s", "announce a")
		_, _ = w.end()
	})
}

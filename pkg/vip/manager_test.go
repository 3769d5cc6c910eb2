package vip

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/vipd-io/vipd/pkg/boottime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is all that a Manager acts on, in a synctest bubble: Network, Fence,
// Announcer and Election in one, so that the order of calls among them shows.
type world struct {
	t       *testing.T
	start   time.Time
	manager *Manager
	stop    context.CancelFunc
	done    chan error
	logs    *observer.ObservedLogs

	mu    sync.Mutex
	calls []string
	last  time.Duration // when the last call came
	seen  Looked
	// damaged: the fence is. probes counts them.
	damaged bool
	probes  int
	// What calls come to.
	lookErr, permitErr, forbidErr, putErr, removeErr error
	// put and giveBack, if set, run inside the calls of that name.
	put      func()
	giveBack func(context.Context) error
}

// newWorld is a node with an idle link, and a manager that is not running.
func newWorld(t *testing.T, slack time.Duration) *world {
	w := &world{t: t, start: time.Now(), seen: Looked{Link: up}, done: make(chan error, 1)}
	core, logs := observer.New(zapcore.InfoLevel)
	w.logs = logs
	w.manager = New(Options{Node: "n1", Network: w, Fence: w, Announcer: w, Election: w, Slack: slack, Now: w.now, Log: zap.New(core)})
	return w
}

// now is CLOCK_BOOTTIME: the bubble's clock.
func (w *world) now() boottime.Instant { return boottime.Instant(time.Since(w.start) + time.Hour) }

func (w *world) run() {
	ctx, cancel := context.WithCancel(w.t.Context())
	w.stop = cancel
	go func() { w.done <- w.manager.Run(ctx) }()
	synctest.Wait()
}

// end stops the manager and returns what came of it and how long it took.
func (w *world) end() (time.Duration, error) {
	start := time.Now()
	w.stop()
	err := <-w.done
	return time.Since(start), err
}

// grant hands out a grant of a term, with the ticket of the same number.
func (w *world) grant(term int, d time.Duration) {
	w.manager.Granted(Grant{Held: true, Known: true, Term: term, Until: w.now().Add(d), Ticket: uint64(term), Holder: "n1", Why: "lease taken"})
	synctest.Wait()
}

func (w *world) lost(to string) {
	w.manager.Granted(Grant{Known: true, Term: 9, Holder: to, Why: "the lease went to " + to})
	synctest.Wait()
}

// change alters the world as the kernel or another program does, and says so.
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
	if d := cmp.Diff(want, w.calls); d != "" {
		w.t.Errorf("%s: calls (-want +got):\n%s", when, d)
	}
	w.calls = nil
}

func (w *world) expectMine(when string, want bool) {
	w.t.Helper()
	if got := w.manager.Mine(); got != want {
		w.t.Errorf("%s: Mine = %t, want %t", when, got, want)
	}
}

func (w *world) messages() []string {
	var out []string
	for _, e := range w.logs.TakeAll() {
		out = append(out, e.Message)
	}
	return out
}

// call notes a call; it needs no lock.
func (w *world) call(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, fmt.Sprintf(format, args...))
	w.last = time.Since(w.start)
}

func (w *world) Look() (Looked, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen, w.lookErr
}

func (w *world) Put(l Link, valid time.Duration) error {
	w.call("put %s %s", l.MAC, valid)
	if w.put != nil {
		w.put()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.putErr == nil {
		w.seen.Ours, w.seen.Marked = true, true
	}
	return w.putErr
}

// Divert is not part of the calls, but for where it must not be.
func (w *world) Divert() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.calls) > 0 && w.calls[len(w.calls)-1] == "remove" {
		w.t.Error("diverted what is gone")
	}
}

func (w *world) Remove() error {
	w.call("remove")
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.removeErr == nil {
		w.seen.Ours, w.seen.Stray, w.seen.Marked = false, false, false
	}
	return w.removeErr
}

func (w *world) Permit(ticket uint64) error { w.call("permit %d", ticket); return w.permitErr }
func (w *world) Forbid() error              { w.call("forbid"); return w.forbidErr }
func (w *world) Rest() error                { w.call("rest"); return nil }
func (w *world) Announce(l Link)            { w.call("announce %s", l.MAC) }
func (w *world) Silence()                   { w.call("silence") }

func (w *world) Campaign(_ context.Context, c Campaign) {
	if c.Eligible {
		w.call("%s", strings.TrimSpace(fmt.Sprintf("campaign %s %s", c.MAC, manner(c))))
	} else {
		w.call("no campaign %s", c.MAC)
	}
}

// Probe is not part of the calls: it is out of the way of all others.
func (w *world) Probe(Link) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.probes++
}

func (w *world) Defend() { w.call("defend") }

func (w *world) Intact() (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.damaged, nil
}

func (w *world) Mend() error {
	w.call("mend")
	w.mu.Lock()
	defer w.mu.Unlock()
	w.damaged = false
	return nil
}

func (w *world) Confirm(context.Context)              { w.call("confirm") }
func (w *world) Refuse(_ context.Context, why string) { w.call("refuse: %s", why) }

func (w *world) GiveBack(ctx context.Context, successor string) error {
	w.call("%s", strings.TrimSpace("give back "+successor))
	if w.giveBack != nil {
		return w.giveBack(ctx)
	}
	return nil
}

// manner says whom a candidate lets go first.
func manner(c Campaign) string {
	out := ""
	if c.HoldBack > 0 {
		out += fmt.Sprintf("after %s ", c.HoldBack)
	}
	if c.Yield > 0 {
		out += fmt.Sprintf("yielding %s", c.Yield)
	}
	return out
}

const hold = 2850 * time.Millisecond // of a lease of 3 s

// holding is a world whose manager holds term 1 since this moment.
func holding(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, 0)
	w.run()
	w.grant(1, hold)
	w.expect("claim", "campaign a", "permit 1", "put a 2.85s", "announce a")
	return w
}

func TestOrderOfCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := holding(t)
		w.pass(time.Second)
		w.grant(1, hold)
		w.expect("renewal", "permit 1", "put a 2.85s")
		w.lost("n2")
		w.expect("loss", "silence", "forbid", "remove")
		w.pass(5 * time.Second)
		w.expect("stands by")
		w.grant(10, hold)
		w.expect("claim after a loss", "permit 10", "put a 2.85s", "announce a")
		took, err := w.end()
		if err != nil || took != 0 {
			t.Errorf("Run = %v after %s", err, took)
		}
		w.expect("end", "silence", "forbid", "remove", "no campaign a", "give back", "rest")
		want := []string{"holding the VIP", "withdrawing the VIP", "standing by", "holding the VIP", "withdrawing the VIP", "standing by"}
		if d := cmp.Diff(want, w.messages()); d != "" {
			t.Errorf("log (-want +got):\n%s", d)
		}
	})
}

func TestEndWhileStandingBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 0)
		w.run()
		w.lost("n2")
		w.expect("stands by", "campaign a")
		if took, err := w.end(); err != nil || took != 0 {
			t.Errorf("Run = %v after %s", err, took)
		}
		// A claim may be under way, so it is given back all the same.
		w.expect("end", "no campaign a", "give back", "rest")
	})
}

func TestEndWhileGiveBackHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := holding(t)
		w.giveBack = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		took, err := w.end()
		if err != nil || took >= time.Second {
			t.Errorf("Run = %v after %s, want nil in less than a second", err, took)
		}
		w.expect("end", "silence", "forbid", "remove", "no campaign a", "give back", "rest")
	})
}

// TestEndDuringGiveBack: the wish to end comes while a hand-over hangs, and has no
// second budget.
func TestEndDuringGiveBack(t *testing.T) {
	for _, since := range []time.Duration{0, 10 * time.Millisecond, 400 * time.Millisecond, giveBackBudget - 1} {
		t.Run(since.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := holding(t)
				calls := 0
				w.giveBack = func(ctx context.Context) error { calls++; <-ctx.Done(); return ctx.Err() }
				w.change(func() { w.seen.Link.Up = false })
				w.pass(linkPatience + since)
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

// TestEndBeforeTheFirstLook: an earlier process left its address, and the wish
// to end is there before anything else.
func TestEndBeforeTheFirstLook(t *testing.T) {
	for range 20 { // select draws lots
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 0)
			w.seen.Ours, w.seen.Marked = true, true
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := w.manager.Run(ctx); err != nil {
				t.Errorf("Run = %v", err)
			}
			w.expect("end", "campaign a", "silence", "forbid", "remove", "no campaign a", "give back", "rest")
		})
	}
}

// TestEndWithoutHavingLooked: what could not be looked at may be here.
func TestEndWithoutHavingLooked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 0)
		w.lookErr, w.removeErr = errKernel, errKernel
		w.run()
		if _, err := w.end(); !errors.Is(err, ErrNotWithdrawn) {
			t.Errorf("Run = %v, want %v", err, ErrNotWithdrawn)
		}
	})
}

// TestRemoveFails: the address is not known to be gone, so nobody else may have
// the lease, until it is.
func TestRemoveFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
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
		w.expect("claim", "permit 10", "put a 2.85s", "announce a")
		w.removeErr = errKernel
		took, err := w.end()
		if !errors.Is(err, ErrNotWithdrawn) || took != withdrawBudget {
			t.Errorf("Run = %v after %s, want %v after %s", err, took, ErrNotWithdrawn, withdrawBudget)
		}
		for _, c := range w.calls {
			if c == "give back" || c == "rest" {
				t.Errorf("%s, with the address still here", c)
			}
		}
	})
}

// TestForbidFails: the address is gone, so there is nothing left to fence.
func TestForbidFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := holding(t)
		w.forbidErr = errKernel
		if took, err := w.end(); err != nil || took != 0 {
			t.Errorf("Run = %v after %s", err, took)
		}
		w.expect("end", "silence", "forbid", "remove", "no campaign a", "give back", "rest")
	})
}

// TestDeadline: no event comes any more, as from an election that hangs.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := holding(t)
		at := time.Since(w.start) + hold
		w.pass(hold - 1)
		w.expect("before the deadline")
		w.pass(1)
		w.expect("deadline", "silence", "forbid", "remove")
		if w.last != at {
			t.Errorf("withdrew at %s, want %s", w.last, at)
		}
		// The election's late word about the same grant raises nothing.
		w.grant(1, 0)
		w.expect("late")
		_, _ = w.end()
	})
}

func TestMine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 0)
		w.run()
		w.expectMine("before", false)
		w.put = func() { w.expectMine("while it is put up", false) }
		w.grant(1, hold)
		w.expectMine("held", true)
		w.pass(hold - 100*time.Millisecond - 1)
		w.expectMine("just more than 100 ms left", true)
		w.pass(1)
		w.expectMine("100 ms left", false)
		w.grant(1, hold)
		w.expectMine("renewed", true)
		w.put = nil
		w.change(func() { w.removeErr = errKernel })
		w.lost("n2")
		w.expectMine("withdrawn, and perhaps still here", false)
		w.change(func() { w.removeErr = nil })
		_, _ = w.end()
		w.expectMine("ended", false)
	})
}

// TestCouldNotLook is not taken for absent: neither the address nor the link.
func TestCouldNotLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := holding(t)
		w.messages()
		w.change(func() { w.lookErr, w.seen = errKernel, Looked{} })
		for range 5 {
			w.pass(time.Second)
			w.grant(1, hold)
			w.expect("renewal", "permit 1", "put a 2.85s")
		}
		w.change(func() { w.lookErr, w.seen = nil, Looked{Link: up, Ours: true, Marked: true} })
		w.expect("looked again")
		want := []string{"could not look at interfaces and addresses, going on from what was seen last", "interface usable"}
		if d := cmp.Diff(want, w.messages()); d != "" {
			t.Errorf("log (-want +got):\n%s", d)
		}
		_, _ = w.end()
	})
}

func TestNoLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 0)
		w.seen, w.lookErr = Looked{}, fmt.Errorf("%w: eth0 is not there", ErrNoLink)
		w.run()
		w.expect("no link", "no campaign ")
		w.pass(time.Minute)
		w.expect("a minute later")
		w.change(func() { w.seen, w.lookErr = Looked{Link: up}, nil })
		w.expect("link there", "campaign a")
		w.grant(1, hold)
		w.expect("claim", "permit 1", "put a 2.85s", "announce a")

		// The link goes for good. Our MAC in the election stays what it was: a
		// lease that we wrote is to be given back as our own.
		w.change(func() { w.seen, w.lookErr = Looked{}, ErrNoLink })
		w.expect("link gone", "no campaign a")
		w.pass(linkPatience)
		w.expect("gone for long", "silence", "forbid", "remove", "give back", "rest")
		want := []string{"waiting for a usable interface", "interface usable", "holding the VIP", "waiting for a usable interface", "withdrawing the VIP", "standing by"}
		if d := cmp.Diff(want, w.messages()); d != "" {
			t.Errorf("log (-want +got):\n%s", d)
		}
		_, _ = w.end()
	})
}

func TestRepair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := holding(t)
		gone := func() { w.seen.Ours, w.seen.Marked = false, false }
		w.change(gone)
		w.expect("removed by hand", "permit 1", "put a 2.85s", "announce a")
		w.change(gone)
		w.expect("removed again, at once")
		w.pass(repairPause)
		w.expect("a pause later", "permit 1", "put a 2.65s", "announce a")
		w.pass(repairPause)
		// A lost event costs a second at most.
		w.mu.Lock()
		gone()
		w.mu.Unlock()
		w.pass(time.Second)
		w.expect("removed without an event", "permit 1", "put a 1.45s", "announce a")
		w.change(func() { w.seen.Link = Link{Index: 9, MAC: "b", Up: true} })
		w.pass(repairPause)
		w.expect("link made anew", "campaign b", "permit 1", "put b 1.25s", "announce b")
		_, _ = w.end()
	})
}

func TestLinkDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := holding(t)
		w.change(func() { w.seen.Link = down })
		w.expect("down", "no campaign a")
		w.pass(linkPatience - 1)
		w.expect("down for less than a second")
		w.change(func() { w.seen.Link = up })
		w.expect("up again", "permit 1", "put a 1.850000001s", "announce a", "campaign a")
		w.change(func() { w.seen.Link = down })
		w.pass(linkPatience)
		w.expect("down for a second", "no campaign a", "silence", "forbid", "remove", "give back", "rest")
		w.change(func() { w.seen.Link = up })
		w.expect("up after all", "campaign a")
		_, _ = w.end()
	})
}

// TestCannotPut: a node that cannot serve gives back and lets others try.
func TestCannotPut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 0)
		w.putErr = errKernel
		w.run()
		w.grant(1, hold)
		w.expect("claim", "campaign a", "permit 1", "put a 2.85s", "silence", "forbid", "remove", "no campaign a", "give back", "rest")
		w.expectMine("not put up", false)
		w.pass(serveRetry - 1)
		w.expect("before the retry")
		w.pass(1)
		w.expect("retry", "campaign a")
		_, _ = w.end()
	})
}

// TestSlack: without nftables the address's own lifetime, in whole seconds, has
// to end early enough by itself.
func TestSlack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
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
		w.expect("a claim with less than a second to give", "permit 2", "silence", "forbid", "remove", "no campaign a", "give back", "rest")
		_, _ = w.end()
	})
}

// TestNewestGrantCounts: the manager is busy while the election goes on.
func TestNewestGrantCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := holding(t)
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
		w.expect("storm", "permit 1", "put a 2.85s", "permit 10001", "put a 2.85s")

		// Lost, won again, and only the end of it is told: another node may
		// have announced itself meanwhile.
		busy = make(chan struct{})
		w.put = func() { <-busy }
		w.grant(1, hold)
		w.manager.Granted(Grant{Known: true, Term: 2, Holder: "n2"})
		w.manager.Granted(Grant{Held: true, Known: true, Term: 3, Until: w.now().Add(hold), Ticket: 3})
		w.put = nil
		close(busy)
		synctest.Wait()
		w.expect("another term", "permit 1", "put a 2.85s", "permit 3", "put a 2.85s", "announce a")

		// The last word is that it is lost.
		busy = make(chan struct{})
		w.put = func() { <-busy }
		w.grant(3, hold)
		w.manager.Granted(Grant{Held: true, Known: true, Term: 3, Until: w.now().Add(hold), Ticket: 4})
		w.manager.Granted(Grant{Known: true, Term: 4, Holder: "n2"})
		w.put = nil
		close(busy)
		synctest.Wait()
		w.expect("lost in the end", "permit 3", "put a 2.85s", "silence", "forbid", "remove")
		_, _ = w.end()
	})
}

// TestBusyPastTheDeadline: a call into the kernel took longer than the lease.
// The deadline comes before whatever else waits.
func TestBusyPastTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := holding(t)
		w.put = func() { time.Sleep(hold + time.Second) }
		w.grant(1, hold)
		w.pass(hold)
		w.expectMine("deadline passed meanwhile", false)
		w.put = nil
		w.grant(1, hold) // of the same term: a renewal that was answered meanwhile
		w.pass(time.Second)
		w.expect("after it", "permit 1", "put a 2.85s", "silence", "forbid", "remove", "permit 1", "put a 1.85s", "announce a")
		_, _ = w.end()
	})
}

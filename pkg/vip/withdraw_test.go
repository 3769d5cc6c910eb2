package vip

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vipd-io/vipd/internal/bubble"
)

// hanging makes calls of these names hang until the end of the test.
func (w *world) hanging(names ...string) (release func()) {
	until := make(chan struct{})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hangs = make(map[string]chan struct{})
	for _, name := range names {
		w.hangs[name] = until
	}
	return func() {
		w.mu.Lock()
		w.hangs = nil
		w.mu.Unlock()
		close(until)
		synctest.Wait()
	}
}

// made tells whether a call was made since the last expect.
func (w *world) made(call string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Contains(w.calls, call)
}

// campaigns tells whether the node asks for the grant, by its last Campaign.
func (w *world) campaigns() (asks bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.calls {
		if strings.HasPrefix(c, "campaign") || strings.HasPrefix(c, "no campaign") {
			asks = !strings.HasPrefix(c, "no")
		}
	}
	return asks
}

// TestHungFence: a fence that does not answer neither keeps the address here nor delays the end.
func TestHungFence(t *testing.T) {
	for name, ends := range map[string]func(*world){
		"deadline": func(w *world) { w.pass(hold) },
		"loss":     func(w *world) { w.lost("n2") },
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := holding(t)
				release := w.hanging("forbid", "clear")
				ends(w)
				w.expect("withdraws", "silence", "forbid", "remove")
				w.expectMine("withdrawn", false)
				release()
				w.pass(time.Second)
				w.grant(10, hold)
				w.expect("the fence answers again", "permit 10", "put a 4s", "announce a")
				_, _ = w.end()
			})
		})
	}
	t.Run("end", func(t *testing.T) {
		bubble.Test(t, func(t *testing.T) {
			w := holding(t)
			release := w.hanging("permit", "forbid", "clear", "intact", "repair")
			took, err := w.end()
			if err != nil || took >= time.Second {
				t.Errorf("Run = %v after %s, want nil in less than a second: the address is gone", err, took)
			}
			w.expect("end", "silence", "forbid", "remove", "no campaign a", "give back") // the fence clears itself
			release()
		})
	})
}

// TestHungNetwork: the fence is closed in time, the lease is kept, and the process ends and reports
// that the address may still be here.
func TestHungNetwork(t *testing.T) {
	for _, call := range []string{"divert", "remove"} {
		t.Run(call, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := holding(t)
				release := w.hanging(call)
				w.pass(hold + closeTimeout)
				if !w.made("forbid") {
					t.Error("the fence is not closed at the deadline")
				}
				took, err := w.end()
				if !errors.Is(err, ErrNotWithdrawn) || took >= time.Second {
					t.Errorf("Run = %v after %s, want %v in less than a second", err, took, ErrNotWithdrawn)
				}
				if w.made("give back") {
					t.Error("gave the lease back, with the address still here")
				}
				release()
			})
		})
	}
}

// TestHungCallBeforeTheDeadline: whatever the Manager waits for, it withdraws in time, and ends
// when stopped.
func TestHungCallBeforeTheDeadline(t *testing.T) {
	for _, call := range []string{"look", "intact", "permit", "put", "repair"} {
		other := "remove" // a call that does not depend on the hanging call
		if call == "look" || call == "put" {
			other = "forbid"
		}
		begin := func(t *testing.T) (w *world, release func()) {
			w = holding(t)
			w.pass(aged)
			release = w.hanging(call)
			if call == "repair" {
				w.change(func() { w.damaged = true })
			} else {
				w.change(func() {})
			}
			w.grant(1, hold) // a renewal at the same instant
			return w, release
		}
		t.Run(call, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w, release := begin(t)
				w.pass(hold - 1)
				if w.made("silence") {
					t.Error("withdrew before the deadline")
				}
				w.pass(2)
				if !w.made("silence") || !w.made(other) && (other != "remove" || !w.diverted) {
					t.Errorf("no %s at the deadline", other)
				}
				release()
				w.pass(2 * withdrawRetry)
				if w.expectMine("at the end", false); !w.made("remove") {
					t.Error("the address was not taken away once the call had returned")
				}
				_, _ = w.end()
			})
		})
		t.Run(call+" and end", func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w, release := begin(t)
				if took, err := w.end(); took >= time.Second {
					t.Errorf("Run = %v after %s, want less than a second", err, took)
				}
				release()
			})
		})
	}
}

// TestLossWhileACallHangs: the Manager acts on another holder without waiting for a call.
func TestLossWhileACallHangs(t *testing.T) {
	for call, other := range map[string]string{"look": "forbid", "intact": "remove", "put": "forbid"} {
		bubble.Test(t, func(t *testing.T) {
			w := holding(t)
			release := w.hanging(call)
			w.change(func() {})
			w.grant(1, hold)
			w.lost("n2")
			w.pass(endTimeout)
			if !w.made(other) {
				t.Errorf("%s hangs: no %s soon after the loss", call, other)
			}
			release()
			_, _ = w.end()
		})
	}
}

// TestEndWhileAllHangs: the process is stopped at any time of a withdrawal.
func TestEndWhileAllHangs(t *testing.T) {
	for _, after := range []time.Duration{0, time.Millisecond, closeTimeout, withdrawTimeout - 1, withdrawTimeout, withdrawTimeout + withdrawRetry, 5 * time.Second} {
		bubble.Test(t, func(t *testing.T) {
			w := holding(t)
			release := w.hanging("look", "divert", "remove", "permit", "forbid", "clear", "intact", "repair")
			w.lost("n2")
			w.pass(after)
			if took, err := w.end(); !errors.Is(err, ErrNotWithdrawn) || took >= time.Second {
				t.Errorf("%s after the loss: Run = %v after %s, want %v in less than a second", after, err, took, ErrNotWithdrawn)
			}
			release()
		})
	}
}

// TestClaimWithAFailedCall: the only node (no peers) claims the lease, and one call into the kernel
// fails once, or takes 1.2 s. The node has the VIP as soon as that is over.
func TestClaimWithAFailedCall(t *testing.T) {
	for name, begin := range map[string]func(w *world) (over func()){
		"one transaction of nftables fails": func(w *world) func() {
			w.permitErr = errors.New("no buffer space available")
			return func() { w.change(func() { w.permitErr = nil }) }
		},
		"putting the address up takes 1.2 s": func(w *world) func() { return w.hanging("put") },
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := newWorld(t, 0)
				w.run()
				over := begin(w)
				w.grant(1, hold)
				w.pass(1200 * time.Millisecond)
				over()
				for waited := time.Duration(0); ; waited += 100 * time.Millisecond {
					if w.campaigns() || w.manager.Holds() {
						if waited > time.Second {
							t.Errorf("it asks for the lease again %s after that", waited)
						}
						break
					}
					w.pass(100 * time.Millisecond)
				}
				_, _ = w.end()
			})
		})
	}
}

// TestHungNetworkWhileRenewed: the kernel's network configuration hangs for some seconds (its lock
// is held), the address is there, the fence is intact, each renewal is on time, sometimes something
// changes, and another machine claims the address. None of that is a reason to withdraw.
func TestHungNetworkWhileRenewed(t *testing.T) {
	for _, lease := range []struct{ hold, renew time.Duration }{{1760 * time.Millisecond, 670 * time.Millisecond}, {2650 * time.Millisecond, time.Second}} {
		bubble.Test(t, func(t *testing.T) {
			w := newWorld(t, 0)
			w.run()
			w.grant(1, lease.hold)
			release := w.hanging("put", "look")
			for i := range 40 {
				w.pass(lease.renew / 2)
				w.manager.Changed()
				w.manager.Claimed("x", false)
				w.pass(lease.renew - lease.renew/2)
				w.grant(1, lease.hold)
				if w.made("silence") {
					t.Errorf("withdrew after renewal %d with a lease of %s that is renewed each %s", i, lease.hold, lease.renew)
					break
				}
			}
			release()
			w.pass(time.Second)
			_, _ = w.end()
		})
	}
}

// TestSlowLookPastTheDeadline: a look at the fence began before the deadline and ended after it.
// The renewal came in between.
func TestSlowLookPastTheDeadline(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := holding(t)
		w.pass(hold - 400*time.Millisecond)
		release := w.hanging("intact")
		w.manager.Changed()
		w.pass(200 * time.Millisecond)
		w.grant(1, hold)
		w.pass(200 * time.Millisecond)
		release()
		w.expect("renewed in time", "permit 1", "put a 4s")
		_, _ = w.end()
	})
}

// TestShorterDeadlineWhileCallsHang: the lease becomes shorter while the network configuration
// hangs, because another candidate appears. Nothing is announced after the new deadline, although a
// call hangs.
func TestShorterDeadlineWhileCallsHang(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := holding(t)
		release := w.hanging("put", "look")
		w.manager.Changed()
		w.grant(1, 36*time.Second) // no other candidate, until now
		w.grant(1, 900*time.Millisecond)
		w.pass(901 * time.Millisecond)
		w.expectMine("behind the new deadline", false)
		if !w.made("silence") {
			t.Error("not withdrawn at the new deadline")
		}
		release()
		w.pass(time.Second)
		_, _ = w.end()
	})
}

package vip

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vipd-io/vipd/internal/bubble"
)

// Inputs of the Manager beside grants and the kernel's state, and the calls that follow.

// sees passes the state of the servers to the Manager.
func (w *world) sees(v Serving) {
	w.manager.Serves(v)
	synctest.Wait()
}

func TestHandOver(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := holding(t)
		w.sees(Serving{Local: NotReady, Why: "nobody listens", Peers: []Peer{ready}})
		w.expect("a peer that was ready before", "campaign a after 3s")
		w.sees(Serving{Local: NotReady, Why: "nobody listens", Peers: []Peer{better}})
		w.expect("a peer that is", "silence", "forbid", "no campaign a", "give back n2", "remove", "clear", "campaign a after 3s")
		w.pass(time.Second)
		w.expect("afterwards")
		w.sees(Serving{Local: Ready, Peers: []Peer{better}})
		w.expect("recovered", "campaign a")
		if _, err := w.end(); err != nil {
			t.Error(err)
		}
	})
}

func TestMoveOnRequest(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := holding(t)
		ask := func(to string) {
			w.manager.MoveTo(to)
			synctest.Wait()
		}
		ask("n9")
		w.expect("nobody known", `refuse: no control-plane node "n9" is known beside this one; there are: none`)
		w.sees(Serving{Local: Ready, Peers: []Peer{ready, {Node: "n3", Ready: true}}})
		ask("n3")
		w.expect("known and ready", "silence", "forbid", "no campaign a", "give back n3", "remove", "clear", "campaign a")
		ask("n2")
		w.pass(time.Second)
		w.expect("asked when it is elsewhere")
		if _, err := w.end(); err != nil {
			t.Error(err)
		}
	})
}

func TestSuccessorOnStop(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := holding(t)
		w.sees(Serving{Local: Ready, Peers: []Peer{ready}})
		if _, err := w.end(); err != nil {
			t.Error(err)
		}
		w.expect("stop", "silence", "forbid", "no campaign a", "give back n2", "remove", "clear")
	})
}

// TestClaimByAnother: the Manager first requests a confirmation, and then acts on it.
func TestClaimByAnother(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := holding(t)
		confirm := func() {
			g := Grant{Held: true, Known: true, Term: 1, Until: w.now().Add(hold), Ticket: 1, Holder: "n1", Confirmed: w.now()}
			w.manager.Granted(g)
			synctest.Wait()
		}
		w.manager.Claimed("x", false)
		synctest.Wait()
		w.expect("claimed", "confirm")
		w.pass(time.Millisecond)
		confirm()
		w.expect("ours", "permit 1", "defend")
		w.manager.Claimed("x", false)
		w.pass(10 * time.Millisecond)
		w.expect("claimed again, at once")
		w.lost("n2")
		w.expect("another's", "silence", "forbid", "remove")
		if _, err := w.end(); err != nil {
			t.Error(err)
		}
	})
}

// TestFenceIsRepaired: the Manager repairs the fence, whether an event or the next look reports the
// damage.
func TestFenceIsRepaired(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := holding(t)
		w.change(func() { w.damaged = true })
		w.expect("flushed", "repair", "permit 1", "put a 4s", "announce a")
		w.mu.Lock()
		w.damaged = true
		w.mu.Unlock()
		w.pass(time.Second)
		w.expect("flushed without an event", "repair", "permit 1", "put a 4s", "announce a") // at the next look, 200 ms later
		w.pass(seriesEnd)
		w.lost("n2")
		w.change(func() { w.damaged = true })
		w.pass(2 * time.Second)
		w.expect("as a standby", "silence", "forbid", "remove")
		if _, err := w.end(); err != nil {
			t.Error(err)
		}
	})
}

func TestProbesOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 0)
		w.run()
		w.pass(10 * time.Second)
		if w.probes != probes {
			t.Errorf("%d probes in 10 s, want %d", w.probes, probes)
		}
		if _, err := w.end(); err != nil {
			t.Error(err)
		}
	})
}

// The reported operations are the operations that were done, in order, with the time of each.
func TestReport(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 0)
		w.put = func() { time.Sleep(7 * time.Millisecond) }
		var told []string
		began := w.now()
		w.manager.opts.Observe = func(n Report) {
			for _, d := range n.Operations {
				told = append(told, fmt.Sprintf("%s %s %s %d", n.State.Phase, d.Kind, d.Detail, d.At.Sub(began).Milliseconds()))
			}
			if n.State.Phase == Holding != (n.Until > n.At) {
				t.Errorf("%s until %d, now %d", n.State.Phase, n.Until, n.At)
			}
		}
		w.run()
		w.grant(1, hold)
		w.pass(10 * time.Millisecond)
		w.grant(1, hold) // a renewal is not reported
		w.pass(10 * time.Millisecond)
		w.lost("n2")
		if _, err := w.end(); err != nil {
			t.Error(err)
		}
		want := []string{
			"holding fence opened  0", "holding address added  7", "holding announced  7",
			"withdrawing announcing ended  20", "withdrawing fence closed  20", "withdrawing address removed  20",
			"standby lease released  20", // the Election knows that nothing was left to release
		}
		if d := cmp.Diff(want, told); d != "" {
			t.Errorf("deeds (-want +got):\n%s", d)
		}
	})
}

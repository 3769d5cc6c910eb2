package vip

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/vipd-io/vipd/internal/bubble"
	"github.com/vipd-io/vipd/pkg/boottime"
)

// TestEndStep: what End does in each state, and what follows.
func TestEndStep(t *testing.T) {
	now := boottime.Instant(time.Hour)
	beside := Serving{Local: Ready, Peers: []Peer{{Node: "n2", Ready: true}, {Node: "n3"}}}
	holding := []Event{beside, Observation{Places: up}, grantFor(now, 3*time.Second), Raised{}, Observation{Places: up, Present: Whole, Marked: true}}
	pledged := Granted{Grant{Known: true, Holder: "n2", Term: 4, Pledged: true}}
	idle := Granted{Grant{Known: true, Holder: "n2", Term: 4}}
	tests := []struct {
		name      string
		events    []Event
		later     time.Duration
		last      Event
		phase     Phase
		ends      bool // on the way to the end
		offers    bool
		successor string
	}{
		{name: "a holder offers", events: holding, last: End{}, phase: Holding, offers: true},
		{name: "a holder offers once", events: append(holding, End{}), last: End{}, phase: Holding},
		{name: "a holder goes on renewing", events: append(holding, End{}), last: grantFor(now, 4*time.Second), phase: Holding},
		{name: "a holder goes on repairing", events: append(holding, End{}), last: Observation{Places: up}, phase: Holding},
		{name: "accepted", events: append(holding, End{}), last: Accepted{By: "n3"}, phase: Withdrawing, ends: true, successor: "n3"},
		{name: "accepted, not offered", events: holding, last: Accepted{By: "n3"}, phase: Holding},
		{name: "told to end at once after all", events: append(holding, End{}), last: Stop{}, phase: Withdrawing, ends: true, successor: "n2"},
		{name: "the right ends", events: append(holding, End{}), later: 3 * time.Second, last: Tick{}, phase: Withdrawing, ends: true},
		{name: "the right is lost", events: append(holding, End{}), last: idle, phase: Withdrawing, ends: true},
		{name: "moved meanwhile", events: append(holding, End{}), last: MoveRequest{To: "n2"}, phase: Withdrawing, ends: true, successor: "n2"},
		{name: "the API server fails meanwhile", events: append(holding, End{}), last: Serving{Local: NotReady, Why: "x", Peers: []Peer{{Node: "n2", Ready: true, Better: true}}}, phase: Withdrawing, ends: true, successor: "n2"},
		{name: "nobody else is known", events: append(holding, Serving{Local: Ready}), last: End{}, phase: Withdrawing, ends: true},
		{name: "the others go meanwhile", events: append(holding, End{}), last: Serving{Local: Ready}, phase: Withdrawing, ends: true},
		{name: "the VIP is the node's own", events: append(holding, Observation{Places: up, Present: Whole, Own: "x on eth1"}), last: End{}, phase: Withdrawing, ends: true, successor: "n2"},
		{name: "the VIP becomes the node's own meanwhile", events: append(holding, End{}), last: Observation{Places: up, Present: Whole, Own: "x on eth1"}, phase: Withdrawing, ends: true, successor: "n2"},
		{name: "a candidate", events: []Event{beside, Observation{Places: up}, idle, End{}}, last: Tick{}, phase: Standby, ends: true},
		{name: "a candidate that may have an address", events: []Event{beside, Observation{Places: up, Marked: true}, idle, End{}}, last: Tick{}, phase: Withdrawing, ends: true, successor: "n2"},
		{name: "a candidate that accepted", events: []Event{beside, Observation{Places: up}, pledged, End{}}, last: Tick{}, phase: Standby},
		{name: "a candidate that accepted, in vain", events: []Event{beside, Observation{Places: up}, pledged, End{}}, last: idle, phase: Standby, ends: true},
		{name: "a candidate that accepted, and gets it", events: []Event{beside, Observation{Places: up}, pledged, End{}}, last: grantFor(now, 3*time.Second), phase: Holding, offers: true},
		{name: "a candidate that accepted, gets it, and cannot serve", events: []Event{beside, Observation{Places: down}, pledged, End{}}, last: grantFor(now, 3*time.Second), phase: Withdrawing, ends: true, successor: "n2"},
	}
	for _, tt := range tests {
		s, _ := run(State{Node: "n1"}, now, tt.events...)
		s, actions := step(s, now.Add(tt.later), tt.last)
		if s.Phase != tt.phase || s.Stopping != tt.ends || has[Offer](actions) != tt.offers || s.GiveBack && s.Successor != tt.successor {
			t.Errorf("%s: %s, stopping %t, successor %q, %+v", tt.name, s.Phase, s.Stopping, s.Successor, actions)
		}
		if i := slices.IndexFunc(actions, func(a Action) bool { _, is := a.(Campaign); return is }); tt.ends && i >= 0 && actions[i].(Campaign).Eligible {
			t.Errorf("%s: campaigns", tt.name)
		}
	}
}

// beside makes n2 and n3 known to a world.
func (w *world) beside() {
	w.manager.Serves(Serving{Local: Ready, Peers: []Peer{{Node: "n2", Ready: true}, {Node: "n3", Ready: true}}})
	w.pass(0)
}

// TestEndOfAHolder: the address stays until a candidate accepts, and then goes to that one.
func TestEndOfAHolder(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := holding(t)
		w.beside()
		w.manager.End()
		w.pass(time.Second)
		w.grant(1, hold)
		w.expect("waits", "campaign a ending", "offer", "permit 1")
		w.expectMine("waits", true)
		w.manager.Accepted("n3")
		if err := <-w.done; err != nil {
			t.Error(err)
		}
		w.expect("accepted", "silence", "forbid", "no campaign a", "give back n3", "remove", "clear")
		w.expectMine("accepted", false)
	})
}

// TestEndWithoutASuccessor: whatever ends the wait, the process ends within its usual time.
func TestEndWithoutASuccessor(t *testing.T) {
	for name, ends := range map[string]func(*world){
		"no time is left": func(w *world) { w.stop() },
		"deadline":        func(w *world) { w.pass(hold) },
		"loss":            func(w *world) { w.lost("n2") },
		"the others go":   func(w *world) { w.manager.Serves(Serving{Local: Ready}) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := holding(t)
				w.beside()
				w.manager.End()
				w.pass(0)
				w.expect("told", "campaign a ending", "offer")
				ends(w)
				began := time.Now()
				if err := <-w.done; err != nil || time.Since(began) >= time.Second {
					t.Errorf("Run = %v after %s", err, time.Since(began))
				}
				if !w.made("remove") || len(w.giveBacks()) != 1 {
					t.Errorf("calls %q", w.calls)
				}
			})
		})
	}
}

func (w *world) giveBacks() (all []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.calls {
		if len(c) >= 9 && c[:9] == "give back" {
			all = append(all, c)
		}
	}
	return all
}

// TestEndOfACandidate: a candidate ends at once, unless it has accepted an offer, also when the
// election says so only after End.
func TestEndOfACandidate(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 0)
		w.run()
		w.beside()
		w.manager.Granted(Grant{Known: true, Holder: "n2", Term: 4, Pledged: true})
		w.manager.End()
		w.pass(time.Second)
		w.expect("waits for the holder", "campaign a", "campaign a ending")
		w.grant(5, hold)
		w.expect("got it", "permit 5", "put a 4s", "announce a", "offer")
		w.manager.Accepted("n3")
		if err := <-w.done; err != nil {
			t.Error(err)
		}
	})
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 0)
		w.run()
		w.beside()
		w.manager.Granted(Grant{Known: true, Holder: "n2", Term: 4})
		w.manager.End()
		began := time.Now()
		if err := <-w.done; err != nil || time.Since(began) > 0 {
			t.Errorf("Run = %v after %s", err, time.Since(began))
		}
		w.expect("ends", "campaign a", "campaign a ending", "no campaign a", "give back", "clear")
	})
}

// TestEndWhileRemoveFails: an end that End began takes no longer than one that Stop began.
func TestEndWhileRemoveFails(t *testing.T) {
	for name, prep := range map[string]func(*world) func(){
		"lone":     func(w *world) func() { return func() {} },
		"accepted": func(w *world) func() { w.beside(); return func() { w.manager.Accepted("n3") } },
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := holding(t)
				after := prep(w)
				w.removeErr, w.divertErr = errKernel, errKernel
				began := time.Now()
				w.manager.End()
				w.pass(time.Millisecond)
				after()
				stop := time.AfterFunc(28*time.Second, w.stop)
				defer stop.Stop()
				stopped := false
				for !stopped {
					select {
					case err := <-w.done:
						stopped = true
						t.Logf("Run = %v after %s", err, time.Since(began))
						if !errors.Is(err, ErrNotWithdrawn) || time.Since(began) > time.Second {
							t.Errorf("Run = %v after %s", err, time.Since(began))
						}
					default:
						// the elector goes on renewing meanwhile
						w.grant(1, hold)
						w.pass(500 * time.Millisecond)
					}
				}
			})
		})
	}
}

// TestEndByEndWhileAllHangs is TestEndWhileAllHangs for an end that End began.
func TestEndByEndWhileAllHangs(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := holding(t)
		release := w.hanging("look", "divert", "remove", "permit", "forbid", "clear", "intact", "repair")
		began := time.Now()
		w.manager.End()
		stop := time.AfterFunc(28*time.Second, w.stop)
		defer stop.Stop()
		err := <-w.done
		if took := time.Since(began); took > 1500*time.Millisecond {
			t.Errorf("Run = %v after %s", err, took)
		}
		release()
	})
}

// TestEndWhileWithdrawing: so does the end of a node that cannot remove its address.
func TestEndWhileWithdrawing(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := holding(t)
		w.beside()
		w.removeErr = errKernel
		w.lost("n2")
		w.pass(time.Second)
		began := time.Now()
		w.manager.End()
		stop := time.AfterFunc(28*time.Second, w.stop)
		defer stop.Stop()
		err := <-w.done
		if took := time.Since(began); took > time.Second {
			t.Errorf("Run = %v after %s", err, took)
		}
	})
}

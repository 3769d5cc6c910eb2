package vip

import (
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vipd-io/vipd/pkg/boottime"
)

var errKernel = errors.New("no buffer space available")

// kernel is a model of what Raise and Withdraw leave behind on a node.
type kernel struct {
	state   State
	now     boottime.Instant
	present bool
	// raiseErr and withdrawErr are what the next ones come to.
	raiseErr, withdrawErr error
}

// handle runs an event as the Manager does and checks each action.
func (k *kernel) handle(t *rapid.T, e Event) {
	for e != nil {
		before := k.state
		var actions []Action
		k.state, actions = step(k.state, k.now, e)
		if before.Stopping && !k.state.Stopping {
			t.Fatal("a wish to end was forgotten")
		}
		e = nil
		for _, a := range actions {
			if outcome := k.do(t, a); outcome != nil {
				e = outcome
			}
		}
	}
}

func (k *kernel) do(t *rapid.T, a Action) Event {
	switch a := a.(type) {
	case Raise:
		if !a.Grant.Held || k.now >= a.Grant.Until {
			t.Fatalf("raised without a grant that holds: %+v at %d", a.Grant, k.now)
		}
		if k.state.Stopping {
			t.Fatal("raised after Stop")
		}
		// A raise that failed may have put something up all the same.
		k.present = true
		return Raised{Refresh: !a.Announce, Err: k.raiseErr}
	case Withdraw:
		k.present = k.present && k.withdrawErr != nil
		return Withdrawn{Err: k.withdrawErr}
	case GiveBack:
		if k.present {
			t.Fatal("given back while the address may still be here")
		}
	case Defend, Confirm, Refuse:
		if k.state.Phase != Holding || k.now >= k.state.Grant.Until {
			t.Fatalf("%#v without holding: %+v", a, k.state)
		}
	case Probe:
		if k.state.Phase != Standby || !a.Link.Up {
			t.Fatalf("probes as a holder or without a link: %+v", k.state)
		}
	case Campaign:
		if a.Eligible && (k.state.Stopping || !k.state.Link.Up) {
			t.Fatalf("campaigns without being able to serve: %+v", k.state)
		}
	}
	return nil
}

// check is what holds after every event.
func (k *kernel) check(t *rapid.T) {
	s := k.state
	if s.Phase == Holding && (!s.Grant.Held || k.now >= s.Grant.Until) {
		t.Fatalf("holds without a grant: %+v at %d", s, k.now)
	}
	if k.present && s.Phase == Standby {
		t.Fatalf("stands by with the address here: %+v", s)
	}
	if s.Done && k.present {
		t.Fatal("done with the address here")
	}
	at := wake(s, k.now)
	if at <= k.now || s.Phase == Holding && at > s.Grant.Until || at > k.now.Add(time.Second) {
		t.Fatalf("wakes at %d, now %d, state %+v", at, k.now, s)
	}
}

func TestStepFromAnyHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := &kernel{now: boottime.Instant(time.Hour), state: State{Node: "n1"}}
		link := func(t *rapid.T) Link {
			return Link{Index: rapid.IntRange(1, 2).Draw(t, "index"), MAC: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "mac"), Up: rapid.Bool().Draw(t, "up")}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": k.check,
			"granted": func(t *rapid.T) {
				until := k.now.Add(time.Duration(rapid.IntRange(-1000, 3000).Draw(t, "left")) * time.Millisecond)
				k.handle(t, Granted{Grant{Held: true, Known: true, Term: 1, Until: until, Holder: "n1", Why: "lease taken", Confirmed: k.now}})
			},
			"lost": func(t *rapid.T) {
				k.handle(t, Granted{Grant{Known: true, Holder: rapid.SampledFrom([]string{"", "n1", "n2"}).Draw(t, "holder"), Why: "lost"}})
			},
			"looked": func(t *rapid.T) {
				k.handle(t, Looked{Link: link(t), Ours: k.present && rapid.Bool().Draw(t, "ours"), Stray: rapid.Bool().Draw(t, "stray"), Marked: k.present,
					Unfenced: rapid.Bool().Draw(t, "unfenced")})
			},
			"serving": func(t *rapid.T) {
				v := drawServing(t)
				before := k.state
				k.handle(t, v)
				if before.Phase == Holding && k.state.Phase != Holding && k.now < before.Grant.Until && before.DownSince == 0 &&
					before.Broken == "" && !slices.ContainsFunc(v.Peers, func(p Peer) bool { return p.Ready }) {
					t.Fatalf("left although no peer serves: %+v", v)
				}
			},
			"asked": func(t *rapid.T) {
				k.handle(t, Asked{To: rapid.SampledFrom([]string{AnyNode, "n1", "n2", "n9"}).Draw(t, "to")})
			},
			"heard": func(t *rapid.T) { k.handle(t, Heard{MAC: "x", At: k.now}) },
			"time passes": func(t *rapid.T) {
				// As the Manager does: no later than it asked to be woken.
				at := wake(k.state, k.now)
				k.now += boottime.Instant(rapid.Int64Range(1, int64(at-k.now)).Draw(t, "ns"))
				k.handle(t, Tick{})
			},
			"paused": func(t *rapid.T) {
				k.now = k.now.Add(time.Duration(rapid.IntRange(1, 10000).Draw(t, "ms")) * time.Millisecond)
				k.handle(t, Tick{})
			},
			"kernel fails": func(t *rapid.T) {
				k.raiseErr, k.withdrawErr = nil, nil
				if rapid.Bool().Draw(t, "raise") {
					k.raiseErr = errKernel
				}
				if rapid.Bool().Draw(t, "withdraw") {
					k.withdrawErr = errKernel
				}
			},
			"stop": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "really") == 0 {
					k.handle(t, Stop{})
				}
			},
		})
	})
}

func drawServing(t *rapid.T) Serving {
	v := Serving{Local: Readiness(rapid.IntRange(0, 2).Draw(t, "local"))}
	if rapid.IntRange(0, 4).Draw(t, "leaving") == 0 {
		v.Leaving = "node n1 is cordoned"
	}
	for _, n := range []string{"n2", "n3"}[:rapid.IntRange(0, 2).Draw(t, "peers")] {
		p := Peer{Node: n, Ready: rapid.Bool().Draw(t, "ready")}
		p.Better = p.Ready && rapid.Bool().Draw(t, "better")
		v.Peers = append(v.Peers, p)
	}
	return v
}

// up and down are links; grantFor is a grant that lasts.
var (
	up   = Link{Index: 2, MAC: "a", Up: true}
	down = Link{Index: 2, MAC: "a"}
)

func grantFor(now boottime.Instant, d time.Duration) Granted {
	return Granted{Grant{Held: true, Known: true, Term: 1, Until: now.Add(d), Holder: "n1"}}
}

// run feeds events to a state and returns the actions of the last one.
func run(s State, now boottime.Instant, events ...Event) (State, []Action) {
	var actions []Action
	for _, e := range events {
		s, actions = step(s, now, e)
	}
	return s, actions
}

func has[A Action](actions []Action) bool {
	for _, a := range actions {
		if _, ok := a.(A); ok {
			return true
		}
	}
	return false
}

func TestStepTransitions(t *testing.T) {
	now := boottime.Instant(time.Hour)
	holding := []Event{Looked{Link: up}, grantFor(now, 3*time.Second), Raised{}, Looked{Link: up, Ours: true}}
	lost := func(to string) Event { return Granted{Grant{Known: true, Holder: to}} }
	tests := []struct {
		name    string
		events  []Event
		later   time.Duration
		last    Event
		phase   Phase
		raise   bool
		remove  bool
		give    bool
		eligble bool
	}{
		{name: "link up: campaigns", last: Looked{Link: up}, phase: Standby, eligble: true},
		{name: "no link: does not", last: Looked{Link: down}, phase: Standby},
		{name: "granted", events: []Event{Looked{Link: up}}, last: grantFor(now, time.Second), phase: Holding, raise: true, eligble: true},
		{name: "granted too late", events: []Event{Looked{Link: up}}, last: grantFor(now, -time.Second), phase: Standby, eligble: true},
		{name: "granted without a link", events: []Event{Looked{Link: down}}, last: grantFor(now, time.Second), phase: Withdrawing, remove: true},
		{name: "renewed", events: holding, last: grantFor(now, 4*time.Second), phase: Holding, raise: true},
		{name: "lost to another", events: holding, last: lost("n2"), phase: Withdrawing, remove: true},
		{name: "deadline", events: holding, later: 3 * time.Second, last: Tick{}, phase: Withdrawing, remove: true},
		{name: "not yet the deadline", events: holding, later: 2999 * time.Millisecond, last: Tick{}, phase: Holding, eligble: true},
		{name: "address removed by somebody", events: holding, later: time.Second, last: Looked{Link: up}, phase: Holding, raise: true, eligble: true},
		{name: "link made anew", events: holding, later: time.Second, last: Looked{Link: Link{Index: 9, MAC: "b", Up: true}}, phase: Holding, raise: true, eligble: true},
		{name: "link down for a moment", events: holding, last: Looked{Link: down, Ours: true}, phase: Holding},
		{name: "link stays down", events: append(holding, Looked{Link: down, Ours: true}), later: time.Second, last: Tick{}, phase: Withdrawing, remove: true},
		{name: "stop while holding", events: holding, last: Stop{}, phase: Withdrawing, remove: true},
		{name: "stop while standing by", events: []Event{Looked{Link: up}}, last: Stop{}, phase: Standby, give: true},
		{name: "stop before anything was looked at", last: Stop{}, phase: Withdrawing, remove: true},
		{name: "stop with an address left on another link", events: []Event{Looked{Link: up, Stray: true, Marked: true}}, last: Stop{}, phase: Withdrawing, remove: true},
		{name: "stop beside somebody else's address", events: []Event{Looked{Link: up, Stray: true}}, last: Stop{}, phase: Standby, give: true},
		{name: "gone after stop", events: append(holding, Stop{}), last: Withdrawn{}, phase: Standby, give: true},
		{name: "not gone after stop", events: append(holding, Stop{}), last: Withdrawn{Err: errKernel}, phase: Withdrawing},
		{name: "cannot be put up", events: []Event{Looked{Link: up}, grantFor(now, 3*time.Second)}, last: Raised{Err: errKernel}, phase: Withdrawing, remove: true},
		{name: "a refresh fails once", events: holding, last: Raised{Refresh: true, Err: errKernel}, phase: Holding},
		{name: "left behind, another holds", events: []Event{lost("n2")}, last: Looked{Link: up, Stray: true}, phase: Withdrawing, remove: true},
		{name: "left behind, own record about to be taken up", events: []Event{lost("n1")}, last: Looked{Link: up, Ours: true}, phase: Standby, eligble: true},
		{name: "left behind, holder not known", last: Looked{Link: up, Ours: true}, phase: Standby, eligble: true},
		{name: "left behind, nobody holds", events: []Event{lost("")}, last: Looked{Link: up, Stray: true}, phase: Standby, eligble: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := run(State{Node: "n1"}, now, tt.events...)
			s, actions := step(s, now.Add(tt.later), tt.last)
			if s.Phase != tt.phase {
				t.Errorf("phase = %s, want %s", s.Phase, tt.phase)
			}
			got := [...]bool{has[Raise](actions), has[Withdraw](actions), has[GiveBack](actions)}
			if want := [...]bool{tt.raise, tt.remove, tt.give}; got != want {
				t.Errorf("raise, withdraw, give back = %v, want %v (%+v)", got, want, actions)
			}
			for _, a := range actions {
				if c, ok := a.(Campaign); ok && c.Eligible != tt.eligble {
					t.Errorf("eligible = %t, want %t", c.Eligible, tt.eligble)
				}
			}
		})
	}
}

// TestWakesAtOnceForADeadlineThatPassed: the process was paused between its last
// look at the clock and the question when to wake.
func TestWakesAtOnceForADeadlineThatPassed(t *testing.T) {
	now := boottime.Instant(time.Hour)
	s, _ := run(State{Node: "n1"}, now, Looked{Link: up}, grantFor(now, time.Second), Raised{})
	late := now.Add(5 * time.Second)
	if at := wake(s, late); at.Sub(late) > time.Millisecond {
		t.Errorf("wakes %v after a deadline that has passed", at.Sub(late))
	}
}

// TestRepairIsDamped: another program takes the address away whenever it is put
// up. In the end it wins, and another node is to serve.
func TestRepairIsDamped(t *testing.T) {
	now := boottime.Instant(time.Hour)
	s, _ := run(State{Node: "n1"}, now, Looked{Link: up}, grantFor(now, time.Hour), Raised{}, Looked{Link: up, Ours: true})
	began, raises := now, 0
	for s.Phase == Holding { // one a millisecond
		now = now.Add(time.Millisecond)
		var actions []Action
		s, actions = step(s, now, Looked{Link: up})
		if has[Raise](actions) {
			raises++
			s, _ = step(s, now, Raised{})
		}
		if raises > maxRepairs {
			t.Fatalf("fights on after %d repairs", raises)
		}
	}
	if fought, least := now.Sub(began), (maxRepairs-1)*repairPause; raises != maxRepairs || fought < least {
		t.Errorf("%d repairs in %s, want %d in %s or more", raises, fought, maxRepairs, least)
	}
	s, actions := step(s, now, Withdrawn{})
	if !has[GiveBack](actions) || s.campaign(now).Eligible {
		t.Errorf("not given away: %+v, %+v", actions, s)
	}
}

// TestFightIsOver: after some quiet a repair is the first one again.
func TestFightIsOver(t *testing.T) {
	now := boottime.Instant(time.Hour)
	s, _ := run(State{Node: "n1"}, now, Looked{Link: up}, grantFor(now, time.Hour), Raised{}, Looked{Link: up, Ours: true})
	for range 3 * maxRepairs {
		s, _ = run(s, now, Looked{Link: up}, Raised{}, Looked{Link: up, Ours: true})
		now = now.Add(quiet)
		s, _ = step(s, now, Tick{})
		if s.Phase != Holding || s.Fight.Repairs != 0 {
			t.Fatalf("repairs %s apart count as a fight: %+v", quiet, s)
		}
	}
}

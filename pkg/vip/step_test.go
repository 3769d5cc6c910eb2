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

// kernel is a model of the state that Raise and Withdraw leave on a node.
type kernel struct {
	state   State
	now     boottime.Instant
	present bool
	// diverted: silent twice over, without being gone. diverts: the next gentle one is.
	diverted, diverts bool
	// raiseErr and withdrawErr are what the next ones come to.
	raiseErr, withdrawErr error
}

// handle runs an event like the Manager, and checks each action.
func (k *kernel) handle(t *rapid.T, e Event) {
	for e != nil {
		before := k.state
		var actions []Action
		k.state, actions = step(k.state, k.now, e)
		if before.Phase == Holding && before.Own != "" && k.state.Own != "" && k.state.GiveBack && !k.state.Stopping {
			t.Fatalf("hands over what stays here as an address of the node itself: %s", k.state.Cause)
		}
		if before.Stopping && !k.state.Stopping || before.Ending && !k.state.Ending {
			t.Fatal("a wish to end was forgotten")
		}
		if k.state.Ending && !k.state.Stopping && k.state.Phase == Withdrawing {
			t.Fatal("withdraws, and would not end")
		}
		_, told := e.(End)
		if told && before.worthWaiting(k.now) && before.DownSince == 0 && k.state.Phase != Holding {
			t.Fatalf("ends although it may wait: %s", k.state.Cause)
		}
		e = nil
		for _, a := range actions {
			if outcome := k.do(t, before, a); outcome != nil {
				e = outcome
			}
		}
	}
}

func (k *kernel) do(t *rapid.T, before State, a Action) Event {
	switch a := a.(type) {
	case Raise:
		if !a.Grant.Held || k.now >= a.Grant.Until {
			t.Fatalf("raised without a grant that holds: %+v at %d", a.Grant, k.now)
		}
		if k.state.Stopping {
			t.Fatal("raised after Stop")
		}
		if !a.Places.found() {
			t.Fatalf("raised on no interface: %+v", k.state)
		}
		if before.Phase != Holding && k.state.Own != "" {
			t.Fatalf("begins to hold what is the node's own: %+v", k.state)
		}
		// A raise that failed may have put something up all the same.
		k.present, k.diverted = true, false
		return Raised{Lasts: a.Grant.Until, Err: k.raiseErr}
	case Extend:
		if k.state.Phase != Holding || !a.Grant.Held || k.now >= a.Grant.Until {
			t.Fatalf("prolonged a right that is over, or without holding: %+v at %d", k.state, k.now)
		}
		return Extended{Err: k.raiseErr}
	case Refresh:
		if k.state.Phase != Holding || k.now >= a.Grant.Until || !a.Places.found() {
			t.Fatalf("refreshed without holding, or on no interface: %+v at %d", k.state, k.now)
		}
		k.present = true // the same
		return Refreshed{Lasts: a.Grant.Until, Err: k.raiseErr}
	case Withdraw:
		if a.Gently && k.diverts {
			k.diverted = true
			return Withdrawn{Diverted: true}
		}
		k.present = k.present && k.withdrawErr != nil
		return Withdrawn{Err: k.withdrawErr}
	case GiveBack:
		if k.present && !k.diverted {
			t.Fatal("given back while the address may still be here")
		}
		if a.Remove {
			k.present = k.present && k.withdrawErr != nil
			return Withdrawn{Err: k.withdrawErr}
		}
	case Offer:
		if k.state.Phase != Holding || !k.state.Ending || k.state.Stopping {
			t.Fatalf("offers what it does not hold, or does not give: %+v", k.state)
		}
	case Defend, Confirm, Refuse:
		if k.state.Phase != Holding || k.now >= k.state.Grant.Until {
			t.Fatalf("%#v without holding: %+v", a, k.state)
		}
	case Probe:
		if k.state.Phase != Standby || !a.Places.Up() {
			t.Fatalf("probes as a holder or without a link: %+v", k.state)
		}
	case Campaign:
		if a.Eligible && (k.state.Stopping || !k.state.Places.Up() || k.state.Own != "") {
			t.Fatalf("campaigns without being able to serve: %+v", k.state)
		}
	}
	return nil
}

// check checks what holds after every event.
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
	at := nextWake(s, k.now)
	if at <= k.now || s.Phase == Holding && at > s.Grant.Until || at > k.now.Add(time.Second) {
		t.Fatalf("wakes at %d, now %d, state %+v", at, k.now, s)
	}
}

func TestStepFromAnyHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := &kernel{now: boottime.Instant(time.Hour), state: State{Node: "n1"}}
		link := func(t *rapid.T) Link {
			if rapid.IntRange(0, 4).Draw(t, "none") == 0 {
				return Link{}
			}
			return Link{Index: rapid.IntRange(1, 2).Draw(t, "index"), MAC: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "mac"), Up: rapid.Bool().Draw(t, "up")}
		}
		two := rapid.Bool().Draw(t, "two addresses")
		places := func(t *rapid.T) Places {
			if two {
				return at(link(t), link(t))
			}
			return at(link(t))
		}
		present := func(t *rapid.T) Presence {
			if !k.present {
				return Absent
			}
			return rapid.SampledFrom([]Presence{Absent, Partial, Whole}).Draw(t, "presence")
		}
		t.Repeat(map[string]func(*rapid.T){
			"": k.check,
			"granted": func(t *rapid.T) {
				until := k.now.Add(time.Duration(rapid.IntRange(-1000, 3000).Draw(t, "left")) * time.Millisecond)
				k.handle(t, Granted{Grant{Held: true, Known: true, Term: 1, Until: until, Holder: "n1", Why: "lease taken", Confirmed: k.now}})
			},
			"lost": func(t *rapid.T) {
				k.handle(t, Granted{Grant{Known: true, Holder: rapid.SampledFrom([]string{"", "n1", "n2"}).Draw(t, "holder"), Why: "lost", Pledged: rapid.Bool().Draw(t, "pledged")}})
			},
			"looked": func(t *rapid.T) {
				k.handle(t, Observation{Places: places(t), Present: present(t), Removable: rapid.Bool().Draw(t, "removable"), Marked: k.present,
					Own: rapid.SampledFrom([]string{"", "", "192.168.35.100/24 on eth1"}).Draw(t, "own"), Unfenced: rapid.Bool().Draw(t, "unfenced"),
					Ahead: rapid.Bool().Draw(t, "ahead")})
			},
			"serving": func(t *rapid.T) {
				v := drawServing(t)
				before := k.state
				k.handle(t, v)
				if before.Phase == Holding && k.state.Phase != Holding && k.now < before.Grant.Until && before.DownSince == 0 && !before.Ending &&
					before.Broken == "" && !slices.ContainsFunc(v.Peers, func(p Peer) bool { return p.Ready }) {
					t.Fatalf("left although no peer serves: %+v", v)
				}
			},
			"asked": func(t *rapid.T) {
				k.handle(t, MoveRequest{To: rapid.SampledFrom([]string{AnyNode, "n1", "n2", "n9"}).Draw(t, "to")})
			},
			"unreached": func(t *rapid.T) {
				before := k.state
				k.handle(t, Unreached{By: rapid.SampledFrom([]string{"n1", "n2", "n3", "n9"}).Draw(t, "by")})
				left := k.state.Reports.Moved != before.Reports.Moved
				if left && (before.Phase != Holding || k.now < before.Reports.From || k.now.Sub(before.Reports.At) > reportsTogether) {
					t.Fatalf("left because of one report or too early: %+v", before)
				}
			},
			"heard": func(t *rapid.T) { k.handle(t, ForeignClaim{MAC: "x", At: k.now}) },
			"time passes": func(t *rapid.T) {
				// As the Manager does: no later than it asked to be woken.
				at := nextWake(k.state, k.now)
				k.now += boottime.Instant(rapid.Int64Range(1, int64(at-k.now)).Draw(t, "ns"))
				k.handle(t, Tick{})
			},
			"paused": func(t *rapid.T) {
				k.now = k.now.Add(time.Duration(rapid.IntRange(1, 10000).Draw(t, "ms")) * time.Millisecond)
				k.handle(t, Tick{})
			},
			"kernel fails": func(t *rapid.T) {
				k.raiseErr, k.withdrawErr, k.diverts = nil, nil, rapid.Bool().Draw(t, "diverts")
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
			"end": func(t *rapid.T) {
				if rapid.IntRange(0, 4).Draw(t, "really") == 0 {
					k.handle(t, End{})
				}
			},
			"accepted": func(t *rapid.T) {
				before := k.state
				k.handle(t, Accepted{By: "n2"})
				if before.Phase == Holding && !before.Ending && k.state.Phase != Holding && k.now < before.Grant.Until && before.DownSince == 0 && before.Broken == "" {
					t.Fatalf("hands over what it did not offer: %+v", before)
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

// up and down are links; grantFor returns a grant that lasts.
var (
	up   = at(Link{Index: 2, MAC: "a", Up: true})
	down = at(Link{Index: 2, MAC: "a"})
)

func grantFor(now boottime.Instant, d time.Duration) Granted {
	return Granted{Grant{Held: true, Known: true, Term: 1, Until: now.Add(d), Holder: "n1"}}
}

// run passes events to a state, and returns the actions of the last one.
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
	holding := []Event{Observation{Places: up}, grantFor(now, 3*time.Second), Raised{}, Observation{Places: up, Present: Whole}}
	lost := func(to string) Event { return Granted{Grant{Known: true, Holder: to}} }
	own := func(at Places, p Presence) Observation {
		return Observation{Places: at, Present: p, Own: "192.168.35.100/24 on eth1"}
	}
	tests := []struct {
		name    string
		events  []Event
		later   time.Duration
		last    Event
		phase   Phase
		raise   bool
		extend  bool
		remove  bool
		give    bool
		eligble bool
	}{
		{name: "link up: campaigns", last: Observation{Places: up}, phase: Standby, eligble: true},
		{name: "no link: does not", last: Observation{Places: down}, phase: Standby},
		{name: "granted", events: []Event{Observation{Places: up}}, last: grantFor(now, time.Second), phase: Holding, raise: true, eligble: true},
		{name: "granted too late", events: []Event{Observation{Places: up}}, last: grantFor(now, -time.Second), phase: Standby, eligble: true},
		{name: "granted without a link", events: []Event{Observation{Places: down}}, last: grantFor(now, time.Second), phase: Withdrawing, remove: true},
		{name: "renewed", events: holding, last: grantFor(now, 4*time.Second), phase: Holding, extend: true},
		{name: "lost to another", events: holding, last: lost("n2"), phase: Withdrawing, remove: true},
		{name: "deadline", events: holding, later: 3 * time.Second, last: Tick{}, phase: Withdrawing, remove: true},
		{name: "not yet the deadline", events: holding, later: 2999 * time.Millisecond, last: Tick{}, phase: Holding, eligble: true},
		{name: "address removed by somebody", events: holding, later: time.Second, last: Observation{Places: up}, phase: Holding, raise: true, eligble: true},
		{name: "the node's own address added behind it", events: holding, later: time.Second, last: Observation{Places: up, Present: Whole, Ahead: true}, phase: Holding, raise: true, eligble: true},
		{name: "link made anew", events: holding, later: time.Second, last: Observation{Places: at(Link{Index: 9, MAC: "b", Up: true})}, phase: Holding, raise: true, eligble: true},
		{name: "link down for a moment", events: holding, last: Observation{Places: down, Present: Whole}, phase: Holding},
		{name: "link stays down", events: append(holding, Observation{Places: down, Present: Whole}), later: time.Second, last: Tick{}, phase: Withdrawing, remove: true},
		{name: "stop while holding", events: holding, last: Stop{}, phase: Withdrawing, remove: true},
		{name: "stop while standing by", events: []Event{Observation{Places: up}}, last: Stop{}, phase: Standby, give: true},
		{name: "stop before anything was looked at", last: Stop{}, phase: Withdrawing, remove: true},
		{name: "stop with an address left on another link", events: []Event{Observation{Places: up, Removable: true, Marked: true}}, last: Stop{}, phase: Withdrawing, remove: true},
		{name: "stop beside somebody else's address", events: []Event{Observation{Places: up, Removable: true}}, last: Stop{}, phase: Standby, give: true},
		{name: "gone after stop", events: append(holding, Stop{}), last: Withdrawn{}, phase: Standby, give: true},
		{name: "not gone after stop", events: append(holding, Stop{}), last: Withdrawn{Err: errKernel}, phase: Withdrawing},
		{name: "cannot be put up", events: []Event{Observation{Places: up}, grantFor(now, 3*time.Second)}, last: Raised{Err: errKernel}, phase: Withdrawing, remove: true},
		{name: "a renewal fails once", events: holding, last: Extended{Err: errKernel}, phase: Holding},
		{name: "a refresh fails once", events: holding, last: Refreshed{Err: errKernel}, phase: Holding},
		{name: "left behind, another holds", events: []Event{lost("n2")}, last: Observation{Places: up, Removable: true}, phase: Withdrawing, remove: true},
		{name: "left behind, own record about to be taken up", events: []Event{lost("n1")}, last: Observation{Places: up, Present: Whole}, phase: Standby, eligble: true},
		{name: "left behind, holder not known", last: Observation{Places: up, Present: Whole}, phase: Standby, eligble: true},
		{name: "left behind, nobody holds", events: []Event{lost("")}, last: Observation{Places: up, Removable: true}, phase: Standby, eligble: true},
		{name: "the node's own: does not campaign", last: own(up, Absent), phase: Standby},
		{name: "the node's own no more: campaigns", events: []Event{own(up, Absent)}, last: Observation{Places: up}, phase: Standby, eligble: true},
		{name: "the node's own, granted", events: []Event{own(up, Absent)}, last: grantFor(now, time.Second), phase: Withdrawing, remove: true},
		{name: "the node's own, another holds", events: []Event{lost("n2")}, last: own(up, Absent), phase: Standby},
		{name: "the node's own under a holder", events: holding, last: own(up, Whole), phase: Holding},
		{name: "the node's own under a holder, renewed", events: append(holding, own(up, Whole)), last: grantFor(now, 4*time.Second), phase: Holding, extend: true},
		{name: "stop beside the node's own", events: []Event{own(up, Absent)}, last: Stop{}, phase: Standby, give: true},
		{name: "on a link that leads nowhere: campaigns", last: Observation{Places: up, OnLocal: "192.168.35.100/32 on kube-ipvs0"}, phase: Standby, eligble: true},
		{name: "link gone, renewed", events: append(holding, Observation{Places: at(Link{})}), last: grantFor(now, 4*time.Second), phase: Holding},
		{name: "link gone, renewed, back", events: append(holding, Observation{Places: at(Link{})}, grantFor(now, 4*time.Second)), later: time.Millisecond,
			last: Observation{Places: at(Link{Index: 9, MAC: "a", Up: true})}, phase: Holding, raise: true, eligble: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := run(State{Node: "n1"}, now, tt.events...)
			s, actions := step(s, now.Add(tt.later), tt.last)
			if s.Phase != tt.phase {
				t.Errorf("phase = %s, want %s", s.Phase, tt.phase)
			}
			got := [...]bool{has[Raise](actions), has[Extend](actions), has[Withdraw](actions), has[GiveBack](actions)}
			if want := [...]bool{tt.raise, tt.extend, tt.remove, tt.give}; got != want {
				t.Errorf("raise, extend, withdraw, give back = %v, want %v (%+v)", got, want, actions)
			}
			for _, a := range actions {
				if c, ok := a.(Campaign); ok && c.Eligible != tt.eligble {
					t.Errorf("eligible = %t, want %t", c.Eligible, tt.eligble)
				}
			}
		})
	}
}

// TestWakesAtOnceForADeadlineThatPassed: the process was paused between its last look at the clock
// and the computation of the next wake-up.
func TestWakesAtOnceForADeadlineThatPassed(t *testing.T) {
	now := boottime.Instant(time.Hour)
	s, _ := run(State{Node: "n1"}, now, Observation{Places: up}, grantFor(now, time.Second), Raised{})
	late := now.Add(5 * time.Second)
	if at := nextWake(s, late); at.Sub(late) > time.Millisecond {
		t.Errorf("wakes %v after a deadline that has passed", at.Sub(late))
	}
}

// TestRepairIsDamped: another program removes the address whenever it is added. In the end, another
// node takes over.
func TestRepairIsDamped(t *testing.T) {
	now := boottime.Instant(time.Hour)
	s, _ := run(State{Node: "n1"}, now, Observation{Places: up}, grantFor(now, time.Hour), Raised{}, Observation{Places: up, Present: Whole})
	began, raises := now, 0
	for s.Phase == Holding { // one a millisecond
		now = now.Add(time.Millisecond)
		var actions []Action
		s, actions = step(s, now, Observation{Places: up})
		if has[Raise](actions) {
			raises++
			s, _ = step(s, now, Raised{})
		}
		if raises > maxRepairs {
			t.Fatalf("goes on after %d repairs", raises)
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

// TestEndlessRepairWithoutPeers: there is no other node, so this one goes on trying.
func TestEndlessRepairWithoutPeers(t *testing.T) {
	now := boottime.Instant(time.Hour)
	for _, tt := range []struct {
		peers []Peer
		want  time.Duration
	}{{nil, repairPause}, {[]Peer{{Node: "n2", Ready: true}}, serveRetry}} {
		s, _ := run(State{Node: "n1"}, now, Observation{Places: up}, grantFor(now, time.Hour), Raised{}, Observation{Places: up, Present: Whole}, Serving{Peers: tt.peers})
		s.Repairs = RepairSeries{Count: maxRepairs, Since: now, Last: now}
		s, _ = run(s, now, Observation{Places: up}, Withdrawn{})
		if s.Phase != Standby || s.ServeAt != now.Add(tt.want) {
			t.Errorf("beside %v: %s, serves again in %s, want %s", tt.peers, s.Phase, s.ServeAt.Sub(now), tt.want)
		}
	}
}

// TestRepairAfterAQuietPeriod: after seriesEnd, the next repair is the first one again.
func TestRepairAfterAQuietPeriod(t *testing.T) {
	now := boottime.Instant(time.Hour)
	s, _ := run(State{Node: "n1"}, now, Observation{Places: up}, grantFor(now, time.Hour), Raised{}, Observation{Places: up, Present: Whole})
	for range 3 * maxRepairs {
		s, _ = run(s, now, Observation{Places: up}, Raised{}, Observation{Places: up, Present: Whole})
		now = now.Add(seriesEnd)
		s, _ = step(s, now, Tick{})
		if s.Phase != Holding || s.Repairs.Count != 0 {
			t.Fatalf("repairs %s apart count as one series: %+v", seriesEnd, s)
		}
	}
}

// TestRefresh: the addresses last as long as the grant, and end soon after it, with as few calls as
// possible.
func TestRefresh(t *testing.T) {
	now := boottime.Instant(time.Hour)
	for _, tt := range []struct {
		name  string
		lasts time.Duration // from now
		until time.Duration
		err   error
		want  bool
	}{
		{"as long as the right", 3 * time.Second, 3 * time.Second, nil, false},
		{"a second longer", 4 * time.Second, 3 * time.Second, nil, false},
		{"less long", 3*time.Second - 1, 3 * time.Second, nil, true},
		{"much longer, as after a lease of 40 s", 40 * time.Second, 3 * time.Second, nil, true},
		{"less long, and the right was not prolonged", 2 * time.Second, 3 * time.Second, errKernel, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := run(State{Node: "n1"}, now, Observation{Places: up}, grantFor(now, time.Second), Raised{Lasts: now.Add(tt.lasts)}, grantFor(now, tt.until))
			if _, actions := step(s, now, Extended{Err: tt.err}); has[Refresh](actions) != tt.want {
				t.Errorf("refreshes = %t, want %t", !tt.want, tt.want)
			}
		})
	}
	s, _ := run(State{Node: "n1"}, now, Observation{Places: up}, grantFor(now, time.Second), Raised{Lasts: now.Add(time.Second)}, Granted{Grant{Known: true, Holder: "n2"}})
	if _, actions := step(s, now, Extended{}); len(actions) > 0 {
		t.Errorf("lost meanwhile: %+v", actions)
	}
}

// TestLifetime: without slack, the lifetime lasts until the renewal after the next; with slack, it
// ends that much before the grant.
func TestLifetime(t *testing.T) {
	for _, tt := range []struct{ left, slack, want time.Duration }{
		{2650 * time.Millisecond, 0, 4 * time.Second},
		{2 * time.Second, 0, 3 * time.Second},
		{time.Millisecond, 0, 2 * time.Second},
		{3850 * time.Millisecond, 1300 * time.Millisecond, 2 * time.Second},
		{2 * time.Second, 1300 * time.Millisecond, 0},
	} {
		if got := lifetime(tt.left, tt.slack); got != tt.want {
			t.Errorf("lifetime(%s, %s) = %s, want %s", tt.left, tt.slack, got, tt.want)
		}
	}
}

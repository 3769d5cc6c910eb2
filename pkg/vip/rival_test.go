package vip

import (
	"strings"
	"testing"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// TestClaimIsConfirmedFirst: a holder asks whether it still holds, withdraws at once if not, and
// defends the address only if it does.
func TestClaimIsConfirmedFirst(t *testing.T) {
	now := boottime.Instant(time.Hour)
	held, _ := run(State{Node: "n1"}, now, Observation{Places: up}, grantFor(now, time.Hour), Raised{}, Observation{Places: up, Present: Whole})
	now = now.Add(time.Second)
	s, actions := step(held, now, ForeignClaim{MAC: "x", At: now})
	if !has[Confirm](actions) || has[Defend](actions) {
		t.Fatalf("actions = %+v, want a question and no defence", actions)
	}
	before := grantFor(now, time.Hour)
	before.Grant.Confirmed = now // the confirmation is no later than the claim
	s, actions = step(s, now, before)
	if has[Defend](actions) {
		t.Error("defended on an answer to a question from before")
	}
	if lost, actions := step(s, now, Granted{Grant{Known: true, Holder: "n2"}}); lost.Phase != Withdrawing || !has[Withdraw](actions) {
		t.Errorf("another holds, and this one goes on: %+v", lost)
	}
	confirmed := func(s State) (State, bool) {
		g := grantFor(now, time.Hour)
		g.Grant.Confirmed = now
		s, actions := step(s, now, g)
		return s, has[Defend](actions)
	}
	now++
	if s, ok := confirmed(s); !ok || s.Rival.At != 0 {
		t.Errorf("not defended: %+v", s.Rival)
	}
}

// TestDefenceIsLimited: a machine that keeps claiming causes one defence in ten seconds, and one
// confirmation a second at most.
func TestDefenceIsLimited(t *testing.T) {
	now := boottime.Instant(time.Hour)
	s, _ := run(State{Node: "n1"}, now, Observation{Places: up}, grantFor(now, time.Hour), Raised{}, Observation{Places: up, Present: Whole})
	confirms, defences := 0, 0
	for range 60 * 20 { // a claim each 50 ms for a minute
		now = now.Add(50 * time.Millisecond)
		var actions []Action
		s, actions = step(s, now, ForeignClaim{MAC: "x", At: now})
		if has[Confirm](actions) {
			confirms++
			now++
			g := grantFor(now, time.Hour)
			g.Grant.Confirmed = now
			s, actions = step(s, now, g)
			if has[Defend](actions) {
				defences++
			}
		}
	}
	if confirms > 60 || confirms < 55 || defences != 6 {
		t.Errorf("%d questions and %d defences in a minute, want about 60 and 6", confirms, defences)
	}
	if s.Rival.Claims != 60*20 {
		t.Errorf("counted %d claims", s.Rival.Claims)
	}
}

// TestProbeBeforeFirstClaim: if a machine answers while no node holds the grant, the candidate
// waits for a while; the holder may answer.
func TestProbeBeforeFirstClaim(t *testing.T) {
	began := boottime.Instant(time.Hour)
	s, actions := step(State{Node: "n1"}, began, Observation{Places: up})
	if !has[Probe](actions) || s.campaign(began).NotBefore != began.Add(probing) {
		t.Fatalf("no probe, or no time for an answer: %+v", actions)
	}
	s, actions = step(s, began.Add(probeGap), Tick{})
	if !has[Probe](actions) {
		t.Error("no second probe")
	}
	if _, actions := step(s, began.Add(time.Minute), Tick{}); has[Probe](actions) {
		t.Error("a third probe")
	}
	late := began.Add(probing)
	for _, tt := range []struct {
		name   string
		at     boottime.Instant
		holder string
		want   boottime.Instant
	}{
		{"nobody holds", began.Add(10 * time.Millisecond), "", began.Add(10 * time.Millisecond).Add(contestedDelay)},
		{"the holder answers, and releases later", began.Add(10 * time.Millisecond), "n2, ", began.Add(probing)},
		{"the holder answers", began.Add(10 * time.Millisecond), "n2", began.Add(probing)},
		{"a claim that is no answer", late, "", began.Add(probing)},
	} {
		s, _ := run(s, tt.at, ForeignClaim{MAC: "x", At: tt.at})
		for holder := range strings.SplitSeq(tt.holder, ", ") {
			s, _ = step(s, tt.at, Granted{Grant{Known: true, Holder: holder}})
		}
		if got := s.campaign(tt.at).NotBefore; got != tt.want {
			t.Errorf("%s: claims from %s on, want %s", tt.name, got.Sub(began), tt.want.Sub(began))
		}
		s.Longest = 40 * time.Second // the Lease of the holder may have been deleted
		if got, want := s.campaign(tt.at).NotBefore, tt.want.Add(s.Longest-contestedDelay); tt.holder == "" && tt.at != late && got != want {
			t.Errorf("%s: claims from %s on, want %s", tt.name, got.Sub(began), want.Sub(began))
		}
	}
}

// TestProbeAnsweredBeforeTheLeaseIsKnown: a machine answers, and a minute later the Lease can be
// read and does not exist: it may have been deleted a moment ago.
func TestProbeAnsweredBeforeTheLeaseIsKnown(t *testing.T) {
	began := boottime.Instant(time.Hour)
	s, _ := step(State{Node: "n1", Longest: 40 * time.Second}, began, Observation{Places: up})
	s, _ = step(s, began+1, ForeignClaim{MAC: "x", At: began + 1})
	now := began.Add(time.Minute)
	s, _ = step(s, now, Granted{Grant{Known: true}})
	if got := s.campaign(now).NotBefore; got != now.Add(s.Longest) {
		t.Errorf("claims %s after it knows that nobody holds, want %s", got.Sub(now), s.Longest)
	}
	s, _ = step(s, now+1, Granted{Grant{Known: true, Why: "once more"}})
	if got := s.campaign(now).NotBefore; got != now.Add(s.Longest) {
		t.Errorf("once more: %s", got.Sub(now))
	}
}

// TestInquiryBeforeFirstClaim: a machine that answers the probes is a rival unless the inquiry says
// that it answers for every address, and no machine claims the addresses in another way.
func TestInquiryBeforeFirstClaim(t *testing.T) {
	began := boottime.Instant(time.Hour)
	at := began.Add(10 * time.Millisecond)
	first, _ := run(State{Node: "n1", Longest: 40 * time.Second}, began, Observation{Places: up})
	answer, announcement := ForeignClaim{MAC: "x", At: at, Answers: true}, ForeignClaim{MAC: "y", At: at}
	free := Granted{Grant{Known: true}}
	late := at.Add(40 * time.Second)
	for _, c := range []struct {
		name   string
		events []Event
		asks   bool
		rival  bool
		want   boottime.Instant
	}{
		{"an answer", []Event{free, answer}, true, false, late},
		{"an answer before the Lease is known", []Event{answer, free}, true, false, late},
		{"an announcement", []Event{free, announcement}, false, true, late},
		{"an answer of a machine with the address", []Event{free, answer, Inquired{}}, true, true, late},
		{"an answer of a machine that answers for every address", []Event{free, answer, Inquired{Proxy: true}}, true, false, began.Add(probing)},
		{"such an answer, and more of them", []Event{free, answer, answer, Inquired{Proxy: true}, answer}, true, false, began.Add(probing)},
		{"such an answer, and an announcement", []Event{free, answer, announcement, Inquired{Proxy: true}}, true, true, late},
		{"the holder answers", []Event{answer, Granted{Grant{Known: true, Holder: "n2"}}, free}, false, false, began.Add(probing)},
	} {
		s, asks := first, 0
		for _, e := range c.events {
			var actions []Action
			s, actions = step(s, at, e)
			if has[Inquire](actions) {
				asks++
			}
		}
		if got := s.campaign(at).NotBefore; (asks == 1) != c.asks || asks > 1 || s.rival() != c.rival || got != c.want {
			t.Errorf("%s: %d inquiries, rival %t, claims after %s; want %t, %t, %s", c.name, asks, s.rival(), got.Sub(began), c.asks, c.rival, c.want.Sub(began))
		}
	}
}

// TestInquiryWithoutLease: while the Lease cannot be read, the inquiry begins once the holder would
// have been known.
func TestInquiryWithoutLease(t *testing.T) {
	began := boottime.Instant(time.Hour)
	s, _ := run(State{Node: "n1"}, began, Observation{Places: up})
	s, actions := step(s, began+1, ForeignClaim{MAC: "x", At: began + 1, Answers: true})
	if has[Inquire](actions) {
		t.Error("asked at once")
	}
	s, _ = step(s, began.Add(probeGap), Tick{})
	if got := nextWake(s, began.Add(2*probeGap)); got != began.Add(probing) {
		t.Errorf("wakes %s after the probe", got.Sub(began))
	}
	if _, actions = step(s, began.Add(probing), Tick{}); !has[Inquire](actions) {
		t.Error("not asked after the wait for answers")
	}
}

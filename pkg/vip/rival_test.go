package vip

import (
	"strings"
	"testing"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// TestClaimIsConfirmedFirst: a holder asks whether it still is one, drops at once
// if not, and defends only what is.
func TestClaimIsConfirmedFirst(t *testing.T) {
	now := boottime.Instant(time.Hour)
	held, _ := run(State{Node: "n1"}, now, Looked{Link: up}, grantFor(now, time.Hour), Raised{}, Looked{Link: up, Ours: true})
	now = now.Add(time.Second)
	s, actions := step(held, now, Heard{MAC: "x", At: now})
	if !has[Confirm](actions) || has[Defend](actions) {
		t.Fatalf("actions = %+v, want a question and no defence", actions)
	}
	before := grantFor(now, time.Hour)
	before.Grant.Confirmed = now // no later than the claim
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

// TestDefenceIsLimited: a machine that goes on claiming is answered once in ten
// seconds, and makes us ask once a second at most.
func TestDefenceIsLimited(t *testing.T) {
	now := boottime.Instant(time.Hour)
	s, _ := run(State{Node: "n1"}, now, Looked{Link: up}, grantFor(now, time.Hour), Raised{}, Looked{Link: up, Ours: true})
	confirms, defences := 0, 0
	for range 60 * 20 { // a claim each 50 ms for a minute
		now = now.Add(50 * time.Millisecond)
		var actions []Action
		s, actions = step(s, now, Heard{MAC: "x", At: now})
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

// TestProbeBeforeFirstClaim: who answers while nobody holds the grant is left
// alone for a while; the holder may answer.
func TestProbeBeforeFirstClaim(t *testing.T) {
	began := boottime.Instant(time.Hour)
	s, actions := step(State{Node: "n1"}, began, Looked{Link: up})
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
		{"nobody holds", began.Add(10 * time.Millisecond), "", began.Add(10 * time.Millisecond).Add(givesWay)},
		{"the holder answers, and releases later", began.Add(10 * time.Millisecond), "n2, ", began.Add(probing)},
		{"the holder answers", began.Add(10 * time.Millisecond), "n2", began.Add(probing)},
		{"a claim that is no answer", late, "", began.Add(probing)},
	} {
		s, _ := run(s, tt.at, Heard{MAC: "x", At: tt.at})
		for holder := range strings.SplitSeq(tt.holder, ", ") {
			s, _ = step(s, tt.at, Granted{Grant{Known: true, Holder: holder}})
		}
		if got := s.campaign(tt.at).NotBefore; got != tt.want {
			t.Errorf("%s: claims from %s on, want %s", tt.name, got.Sub(began), tt.want.Sub(began))
		}
	}
}

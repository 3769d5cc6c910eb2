package vip

import (
	"strings"
	"testing"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Peers in the states that make a difference.
var (
	better   = Peer{Node: "n2", Ready: true, Better: true}
	ready    = Peer{Node: "n2", Ready: true} // ready as far as is known, but not since this node's own server failed
	sick     = Peer{Node: "n2", Why: "nobody listens"}
	cordoned = Peer{Node: "n2", Ready: true, Better: true, Leaving: "node n2 is cordoned"}
)

// TestLeavesForABetterNode: a holder hands the addresses over only to a better node.
func TestLeavesForABetterNode(t *testing.T) {
	unwell := func(peers ...Peer) Serving {
		return Serving{Local: NotReady, Why: "nobody listens", Peers: peers}
	}
	leaving := func(peers ...Peer) Serving {
		return Serving{Local: Ready, Leaving: "node n1 is cordoned", Peers: peers}
	}
	n3 := Peer{Node: "n3", Ready: true, Better: true}
	tests := []struct {
		name    string
		serving Serving
		to      string // the successor, "" if the addresses stay
	}{
		{"all well", Serving{Local: Ready, Peers: []Peer{better}}, ""},
		{"nothing known of our own", Serving{Peers: []Peer{better}}, ""},
		{"not ready, a peer is", unwell(better), "n2"},
		{"not ready, a peer was", unwell(ready), ""},
		{"not ready, nor is the peer", unwell(sick), ""},
		{"not ready, no peers", unwell(), ""},
		{"not ready, the second peer is", unwell(sick, n3), "n3"},
		{"not ready, the first of two", unwell(better, n3), "n2"},
		{"not ready, a cordoned peer and another", unwell(cordoned, n3), "n3"},
		{"not ready, a cordoned peer alone", unwell(cordoned), "n2"},
		{"cordoned, a peer is ready", leaving(ready), "n2"},
		{"cordoned, the peer is not ready", leaving(sick), ""},
		{"cordoned, and so is the peer", leaving(cordoned), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now := boottime.Instant(time.Hour)
			s, actions := run(State{Node: "n1"}, now, Observation{Places: up}, grantFor(now, 3*time.Second), Raised{}, Observation{Places: up, Present: Whole}, tt.serving)
			if left := s.Phase == Withdrawing; left != (tt.to != "") || has[Withdraw](actions) != left {
				t.Fatalf("left = %t: %+v", left, actions)
			}
			if tt.to == "" {
				return
			}
			_, actions = step(s, now, Withdrawn{})
			if g, ok := actions[len(actions)-1].(GiveBack); !ok || g.Successor != tt.to {
				t.Errorf("actions = %+v, want them given back for %s", actions, tt.to)
			}
		})
	}
}

// TestHoldBack: how long a candidate lets others go first.
func TestHoldBack(t *testing.T) {
	now := boottime.Instant(time.Hour)
	tests := []struct {
		name            string
		serving         Serving
		holdBack, yield time.Duration
	}{
		{"ready", Serving{Local: Ready}, 0, 0},
		{"unknown", Serving{}, 0, 0},
		{"not ready", Serving{Local: NotReady}, notReadyDelay, 0},
		{"cordoned", Serving{Local: Ready, Leaving: "cordoned"}, leavingDelay, 0},
		{"not preferred", Serving{Local: Ready, Yields: true}, 0, yieldDelay},
	}
	for _, tt := range tests {
		s, _ := run(State{Node: "n1"}, now, Observation{Places: up}, tt.serving)
		if c := s.campaign(now); !c.Eligible || c.HoldBack != tt.holdBack || c.Yield != tt.yield {
			t.Errorf("%s: %+v, want to hold back %s and yield %s", tt.name, c, tt.holdBack, tt.yield)
		}
	}
}

// TestUnwillingHolder: an unwilling node claimed because no other node did. It keeps the addresses for a
// while, longer each time, and hands them over at once if its server was ready in between.
func TestUnwillingHolder(t *testing.T) {
	now := boottime.Instant(time.Hour)
	failed := Serving{Local: NotReady, Peers: []Peer{better}}
	s, _ := run(State{Node: "n1"}, now, Observation{Places: up}, failed)
	for i := range maxStays + 2 {
		began := now
		s, _ = run(s, now, grantFor(now, time.Hour), Raised{}, Observation{Places: up, Present: Whole})
		for s.Phase == Holding {
			now = nextWake(s, now)
			s, _ = run(s, now, Observation{Places: up, Present: Whole}, failed)
		}
		if got, want := now.Sub(began), stay<<min(i, maxStays); got != want {
			t.Errorf("claim %d: left after %s, want %s", i+1, got, want)
		}
		s, _ = step(s, now, Withdrawn{})
	}
	s, _ = run(s, now, grantFor(now, time.Hour), Raised{}, Observation{Places: up, Present: Whole}, Serving{Local: Ready}, failed)
	if s.Phase != Withdrawing {
		t.Errorf("stays with a server that failed anew: %+v", s)
	}
}

// TestRequestedMove: a requested move happens, or is refused with a reason.
func TestRequestedMove(t *testing.T) {
	tests := []struct {
		name    string
		to      string
		peers   []Peer
		node    string
		refusal string
	}{
		{"anywhere", AnyNode, []Peer{sick, {Node: "n3", Ready: true}}, "n3", ""},
		{"by name", "n2", []Peer{ready, {Node: "n3", Ready: true}}, "n2", ""},
		{"anywhere, nobody is ready", AnyNode, []Peer{sick}, "", "no other node is known whose API server is ready (n2: nobody listens)"},
		{"anywhere, all leave", AnyNode, []Peer{cordoned}, "", "(node n2 is cordoned)"},
		{"anywhere, nobody known", AnyNode, nil, "", "no other node is known"},
		{"unknown", "n9", []Peer{ready}, "", `no control-plane node "n9" is known beside this one; there are: n2`},
		{"not ready", "n2", []Peer{sick}, "", "the API server of n2 is not ready: nobody listens"},
		{"cordoned", "n2", []Peer{cordoned}, "", "node n2 is cordoned"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now := boottime.Instant(time.Hour)
			s, actions := run(State{Node: "n1"}, now, Observation{Places: up}, grantFor(now, 3*time.Second), Raised{}, Observation{Places: up, Present: Whole},
				Serving{Local: Ready, Peers: tt.peers}, MoveRequest{To: tt.to})
			if tt.refusal != "" {
				if r, ok := actions[0].(Refuse); !ok || !strings.Contains(r.Why, tt.refusal) || s.Phase != Holding {
					t.Errorf("actions = %+v, want a refusal with %q", actions, tt.refusal)
				}
				return
			}
			if s.Phase != Withdrawing || s.Successor != tt.node {
				t.Errorf("phase %s, successor %q, want to move to %s", s.Phase, s.Successor, tt.node)
			}
		})
	}
	s, actions := run(State{Node: "n1"}, boottime.Instant(time.Hour), Observation{Places: up}, MoveRequest{To: AnyNode})
	if s.Phase != Standby || has[Refuse](actions) {
		t.Errorf("a node that holds nothing answers: %+v", actions)
	}
}

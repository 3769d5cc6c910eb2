package vip

import (
	"testing"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// TestHolderWithItsOwnAddressStays: State.Own says that a holder keeps the grant while the VIP is an
// address of the node itself, because the node goes on answering, and after a move two nodes would.
func TestHolderWithItsOwnAddressStays(t *testing.T) {
	for name, e := range map[string]Event{
		"the API server of this node fails":               Serving{Local: NotReady, Why: "x", Peers: []Peer{{Node: "n2", Ready: true, Better: true}}},
		"the node is drained":                             Serving{Local: Ready, Leaving: "cordoned", Peers: []Peer{{Node: "n2", Ready: true}}},
		"a move":                                          MoveRequest{To: "n2"},
		"the address was not added":                       Raised{Err: errKernel},
		"the route is lost, address on another interface": Observation{Places: down, Present: Whole, Own: "192.168.35.100/24 on eth1"},
	} {
		now := boottime.Instant(time.Hour)
		s, _ := run(State{Node: "n1"}, now, Serving{Local: Ready, Peers: []Peer{{Node: "n2", Ready: true}}}, Observation{Places: up}, grantFor(now, time.Hour), Raised{},
			Observation{Places: up, Present: Whole, Own: "192.168.35.100/24 on eth1"})
		s, _ = run(s, now, e)
		s, _ = step(s, now.Add(2*time.Second), Tick{})
		if s.Phase != Holding {
			t.Errorf("%s: %s, to %q", name, s.Cause, s.Successor)
		}
	}
}

// TestHolderWithItsOwnAddressGoesOnRepairing: repairs that fail or do not last are no reason either.
func TestHolderWithItsOwnAddressGoesOnRepairing(t *testing.T) {
	now := boottime.Instant(time.Hour)
	broken := Observation{Places: up, Present: Partial, Own: "192.168.35.100/24 on eth1"}
	for name, err := range map[string]error{"fail": errKernel, "do not last": nil} {
		s, _ := run(State{Node: "n1"}, now, Serving{Local: Ready, Peers: []Peer{{Node: "n2", Ready: true}}}, Observation{Places: up}, grantFor(now, time.Hour), Raised{}, broken)
		raises := 0
		for range 60 * 20 { // a minute
			var actions []Action
			now = now.Add(50 * time.Millisecond)
			if s, actions = step(s, now, broken); has[Raise](actions) {
				raises++
				s, _ = step(s, now, Raised{Err: err})
			}
			if s.Phase != Holding {
				t.Fatalf("repairs %s: %s, to %q", name, s.Cause, s.Successor)
			}
		}
		if raises < 10 || raises > 10*maxRepairs {
			t.Errorf("repairs %s: %d repairs in a minute", name, raises)
		}
	}
}

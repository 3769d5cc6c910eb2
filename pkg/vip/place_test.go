package vip

import (
	"net/netip"
	"testing"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// at are places on links, each with an address of its own.
func at(links ...Link) (out Places) {
	addr := netip.MustParseAddr("192.168.35.100")
	for _, l := range links {
		out = append(out, Place{Addr: addr, Link: l})
		addr = addr.Next()
	}
	return out
}

// TestHeldWholeOrNotAtAll: two addresses on two links.
func TestHeldWholeOrNotAtAll(t *testing.T) {
	now := boottime.Instant(time.Hour)
	a, b := Link{Index: 2, MAC: "a", Up: true}, Link{Index: 3, MAC: "b", Up: true}
	down := Link{Index: 3, MAC: "b"}
	both := at(a, b)
	granted := []Event{Observation{Places: both}, grantFor(now, time.Hour)}
	holding := append(granted, Raised{}, Observation{Places: both, Present: Whole})
	for _, tt := range []struct {
		name    string
		events  []Event
		later   time.Duration
		last    Event
		phase   Phase
		raise   bool
		eligble bool
	}{
		{"both links are up: campaigns", nil, 0, Observation{Places: both}, Standby, false, true},
		{"one is down: does not", nil, 0, Observation{Places: at(a, down)}, Standby, false, false},
		{"one is not known: does not", nil, 0, Observation{Places: at(a, Link{})}, Standby, false, false},
		{"granted", granted[:1], 0, granted[1], Holding, true, true},
		{"granted, and one is down", []Event{Observation{Places: at(a, down)}}, 0, granted[1], Withdrawing, false, false},
		{"some addresses were removed", holding, time.Second, Observation{Places: both, Present: Partial}, Holding, true, true},
		{"one link made anew", holding, time.Second, Observation{Places: at(a, Link{Index: 9, MAC: "b", Up: true}), Present: Partial}, Holding, true, true},
		{"one link down for a moment", holding, 0, Observation{Places: at(a, down), Present: Whole}, Holding, false, false},
		{"one link stays down", append(holding, Observation{Places: at(a, down), Present: Whole}), time.Second, Tick{}, Withdrawing, false, false},
		{"some left behind, another holds", []Event{Granted{Grant{Known: true, Holder: "n2"}}}, 0, Observation{Places: both, Present: Partial, Marked: true}, Withdrawing, false, false},
		{"stop with some left behind", []Event{Observation{Places: both, Present: Partial, Marked: true}}, 0, Stop{}, Withdrawing, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := run(State{Node: "n1"}, now, tt.events...)
			s, actions := step(s, now.Add(tt.later), tt.last)
			if s.Phase != tt.phase || has[Raise](actions) != tt.raise || s.campaign(now.Add(tt.later)).Eligible != tt.eligble && s.Phase == Standby {
				t.Errorf("phase %s, actions %+v, want %s, raise = %t, eligible = %t", s.Phase, actions, tt.phase, tt.raise, tt.eligble)
			}
		})
	}
}

// TestRemovedLinkKeepsItsMAC: the identity in the election stays the same.
func TestRemovedLinkKeepsItsMAC(t *testing.T) {
	before := at(Link{Index: 2, MAC: "a", Up: true}, Link{Index: 3, MAC: "b", Up: true})
	seen := at(Link{}, Link{Index: 4, MAC: "c"})
	got := seen.keepMACs(before)
	if got[0].Link != (Link{MAC: "a"}) || got[1].Link.MAC != "c" || seen[0].Link.MAC != "" {
		t.Errorf("known = %+v, seen = %+v", got, seen)
	}
}

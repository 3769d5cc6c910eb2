package vip

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vipd-io/vipd/pkg/boottime"
)

func TestUnreached(t *testing.T) {
	now := boottime.Instant(time.Hour)
	peers := func(ready ...bool) Serving {
		var v Serving
		for i, r := range ready {
			v.Peers = append(v.Peers, Peer{Node: fmt.Sprintf("n%d", i+2), Ready: r})
		}
		return v
	}
	by := func(node string) Event { return Unreached{By: node} }
	for _, tt := range []struct {
		name   string
		peers  Serving
		before Event
		first  Event
		after  time.Duration
		second Event
		to     string
	}{
		{"two nodes", peers(true, true, true), Tick{}, by("n3"), reportsTogether, by("n4"), "n3"},
		{"the preferred of the two", peers(true, true, true), Tick{}, by("n3"), time.Second, by("n2"), "n2"},
		{"only one of the two is ready", peers(false, true, true), Tick{}, by("n2"), time.Second, by("n3"), "n3"},
		{"neither of the two is ready", peers(false, false, true), Tick{}, by("n2"), time.Second, by("n3"), ""},
		{"one node twice", peers(true, true), Tick{}, by("n2"), time.Second, by("n2"), ""},
		{"too long apart", peers(true, true), Tick{}, by("n2"), reportsTogether + 1, by("n3"), ""},
		{"a node that nobody knows first", peers(true, true), Tick{}, by("n9"), time.Second, by("n3"), ""},
		{"a node that nobody knows last", peers(true, true), Tick{}, by("n2"), time.Second, by("n9"), ""},
		{"the VIP is an address of this node itself", peers(true, true), Observation{Places: up, Present: Whole, Own: "eth0"}, by("n2"), time.Second, by("n3"), ""},
		{"this node reported the holder before", peers(true, true), by("n1"), by("n2"), time.Second, by("n3"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := run(State{Node: "n1"}, now, Observation{Places: up}, grantFor(now, time.Hour), Raised{}, Observation{Places: up, Present: Whole}, tt.peers)
			s, _ = run(s, now, tt.before, tt.first)
			s, actions := step(s, now.Add(tt.after), tt.second)
			if s.Successor != tt.to || has[Withdraw](actions) != (tt.to != "") {
				t.Errorf("to %q (%+v), want %q", s.Successor, actions, tt.to)
			}
		})
	}
}

// nodes is a model of a control plane in which nodes do not reach the holder.
type nodes struct {
	now    boottime.Instant
	states []State
	holder int
	term   int
	moves  []boottime.Instant // because of reports
}

func newNodes(n int) *nodes {
	c := &nodes{now: boottime.Instant(time.Hour)}
	for i := range n {
		v := Serving{Local: Ready}
		for j := range n {
			if j != i {
				v.Peers = append(v.Peers, Peer{Node: name(j), Ready: true})
			}
		}
		s, _ := run(State{Node: name(i)}, c.now, Observation{Places: up}, v)
		c.states = append(c.states, s)
	}
	c.grant(0, false)
	return c
}

func name(i int) string { return fmt.Sprintf("n%d", i+1) }

// grant makes a node the holder; reported: because of reports.
func (c *nodes) grant(i int, reported bool) {
	c.holder = i
	c.term++
	c.states[i], _ = run(c.states[i], c.now, Granted{Grant{Held: true, Known: true, Term: c.term, Until: c.now.Add(1000 * time.Hour), Holder: name(i), Reported: reported}},
		Raised{}, Observation{Places: up, Present: Whole})
}

// restart makes a node forget everything. The holder gives the grant back, to any node.
func (c *nodes) restart(t *rapid.T, i int) {
	v := c.states[i].Serving
	c.states[i], _ = run(State{Node: name(i)}, c.now, Observation{Places: up}, v)
	if i == c.holder {
		c.moves = nil // of another cause: the count begins anew
		c.grant(rapid.IntRange(0, len(c.states)-1).Draw(t, "claims"), false)
	}
}

// report passes the report of one node about the holder. After a hand-over, the given node claims.
func (c *nodes) report(t rapid.TB, by, claims int) {
	t.Helper()
	c.states[by], _ = step(c.states[by], c.now, Unreached{By: name(by)})
	from := c.holder
	c.states[from], _ = step(c.states[from], c.now, Unreached{By: name(by)})
	if c.states[from].Phase == Holding {
		return
	}
	s, actions := step(c.states[from], c.now, Withdrawn{})
	c.states[from] = s
	i := slices.IndexFunc(actions, func(a Action) bool { _, is := a.(GiveBack); return is })
	if i < 0 || !actions[i].(GiveBack).Reported || actions[i].(GiveBack).Successor == "" {
		t.Fatalf("left by %+v", actions)
	}
	c.moves = append(c.moves, c.now)
	c.grant(claims, true)
}

// TestReportsDoNotPassTheVIPAround: whoever reports whom, whoever claims after a hand-over, and
// whichever standby restarts, the VIP moves because of reports once in reportsPause. If the holder
// restarts, which moves the VIP anyway, the time begins anew.
func TestReportsDoNotPassTheVIPAround(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newNodes(rapid.IntRange(3, 5).Draw(t, "nodes"))
		for range rapid.IntRange(1, 200).Draw(t, "reports") {
			c.now = c.now.Add(time.Duration(rapid.IntRange(1, 20_000).Draw(t, "ms")) * time.Millisecond)
			i := rapid.IntRange(0, len(c.states)-1).Draw(t, "node")
			switch {
			case rapid.IntRange(0, 9).Draw(t, "restart") == 0:
				c.restart(t, i)
			case i != c.holder: // a holder does not probe
				c.report(t, i, rapid.IntRange(0, len(c.states)-1).Draw(t, "claims"))
			}
			if m := len(c.moves); m > 1 && c.moves[m-1].Sub(c.moves[m-2]) < reportsPause {
				t.Fatalf("moved twice in %s", c.moves[m-1].Sub(c.moves[m-2]))
			}
		}
	})
}

// TestNobodyReachesAnyHolder: if a firewall of the nodes themselves drops what they send to the VIP,
// no move helps, and each one ends the connections of other clients. The moves get rare.
func TestNobodyReachesAnyHolder(t *testing.T) {
	c := newNodes(3)
	for by, end := 0, c.now.Add(24*time.Hour); c.now < end; by++ {
		c.now = c.now.Add(4 * time.Second)
		if i := by % len(c.states); i != c.holder {
			c.report(t, i, (c.holder+1)%len(c.states))
		}
	}
	if len(c.moves) > 12 {
		t.Errorf("the VIP moved %d times in a day", len(c.moves))
	}
	for i, s := range c.states { // a failure long after that is a new one
		if p := s.Reports.moved(c.now.Add(25 * time.Hour)).pause(); p != reportsPause {
			t.Errorf("%s would stay for %s", name(i), p)
		}
	}
}

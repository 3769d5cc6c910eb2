package vip

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Readiness is what is thought of the API server on a node.
type Readiness uint8

const (
	// Unknown: nothing was seen of it. It gets the benefit of the doubt.
	Unknown Readiness = iota
	Ready
	NotReady
)

// Serving is how the servers behind the addresses do, on this node and others.
type Serving struct {
	// Local is about this node's own, Why says why it is not ready.
	Local Readiness
	Why   string
	// Leaving says why this node is on its way out, "" if it is not.
	Leaving string
	// Yields: there are preferred nodes, and this is none of them.
	Yields bool
	// Peers are the other nodes, the preferred ones first.
	Peers []Peer
}

// Peer is another node.
type Peer struct {
	Node string
	// Ready: its server is. Better: it was seen so since this node's last was.
	Ready, Better bool
	// Why says why it is not ready, Leaving why it is on its way out.
	Why, Leaving string
}

const (
	// strandedAfter is how long a node without a ready server leaves the
	// addresses to others; then they are better here than nowhere.
	strandedAfter = 3 * time.Second
	// leavingAfter is that of a node on its way out.
	leavingAfter = time.Second
	// yield is how long others leave them to preferred nodes.
	yield = 100 * time.Millisecond
	// stay is how long a node that took them although it would rather not keeps
	// them before it tries to leave; it doubles each time, up to maxStays times.
	stay     = 10 * time.Second
	maxStays = 6
)

// unwilling says why this node would rather not have the addresses, "" if it
// would, and how long it leaves them to others.
func (v Serving) unwilling() (why string, holdBack time.Duration) {
	switch {
	case v.Local == NotReady:
		return "the API server on this node is not ready: " + v.Why, strandedAfter
	case v.Leaving != "":
		return v.Leaving, leavingAfter
	}
	return "", 0
}

// leave says why and for whom this node gives the addresses away, if it does:
// only for one that is better.
func (v Serving) leave() (why, to string) {
	why, _ = v.unwilling()
	switch {
	case why == "":
	case v.Local == NotReady:
		to = v.best(func(p Peer) bool { return p.Better && p.Leaving == "" })
		if to == "" {
			to = v.best(func(p Peer) bool { return p.Better })
		}
	default:
		to = v.best(func(p Peer) bool { return p.Ready && p.Leaving == "" })
	}
	if to == "" {
		return "", ""
	}
	return why, to
}

// successor is the node to name when the addresses are given away in any case.
func (v Serving) successor() string {
	return v.best(func(p Peer) bool { return p.Ready && p.Leaving == "" })
}

func (v Serving) best(fit func(Peer) bool) string {
	if i := slices.IndexFunc(v.Peers, fit); i >= 0 {
		return v.Peers[i].Node
	}
	return ""
}

// destination is where to move when asked to, or why not.
func (v Serving) destination(to string) (node, refusal string) {
	if to == AnyNode {
		if node = v.successor(); node == "" {
			return "", "no other node is known whose API server is ready" + v.troubles()
		}
		return node, ""
	}
	i := slices.IndexFunc(v.Peers, func(p Peer) bool { return p.Node == to })
	if i < 0 {
		return "", fmt.Sprintf("no control-plane node %q is known beside this one; there are: %s", to, v.names())
	}
	switch p := v.Peers[i]; {
	case !p.Ready:
		return "", fmt.Sprintf("the API server of %s is not ready: %s", to, p.Why)
	case p.Leaving != "":
		return "", p.Leaving
	}
	return to, ""
}

func (v Serving) names() string {
	if len(v.Peers) == 0 {
		return "none"
	}
	var out []string
	for _, p := range v.Peers {
		out = append(out, p.Node)
	}
	return strings.Join(out, ", ")
}

// troubles lists what keeps the peers from being chosen.
func (v Serving) troubles() string {
	var out []string
	for _, p := range v.Peers {
		switch {
		case p.Leaving != "":
			out = append(out, p.Leaving)
		case !p.Ready:
			out = append(out, p.Node+": "+p.Why)
		}
	}
	if len(out) == 0 {
		return ""
	}
	return " (" + strings.Join(out, "; ") + ")"
}

// campaign is how this node stands for the next grant.
func (s State) campaign(now boottime.Instant) Campaign {
	c := Campaign{Eligible: s.Link.Up && !s.Stopping && now >= s.ServeAt, MAC: s.Link.MAC, NotBefore: s.notBefore()}
	_, c.HoldBack = s.Serving.unwilling()
	if s.Serving.Yields {
		c.Yield = yield
	}
	return c
}

// asked answers a person's wish to move.
func asked(s State, now boottime.Instant, to string) (State, []Action) {
	if s.Phase != Holding || !s.Grant.Held || now >= s.Grant.Until {
		return settle(s, now) // not ours to move
	}
	node, refusal := s.Serving.destination(to)
	if refusal != "" {
		return s, []Action{Refuse{Why: refusal}}
	}
	return giveAway(s, "asked to move to "+node, node)
}

package vip

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Readiness is the judged state of the API server on a node.
type Readiness uint8

const (
	// Unknown: no result yet. An unknown server is not treated as failed.
	Unknown Readiness = iota
	Ready
	NotReady
)

// Serving is the state of the servers behind the addresses, on this node and on its peers.
type Serving struct {
	// Local is the state of this node's server, Why the reason if it is not ready.
	Local Readiness
	Why   string
	// Leaving is why this node is about to leave, "" if it stays.
	Leaving string
	// Yields: there are preferred nodes, and this node is none of them.
	Yields bool
	// Peers are the other nodes, the preferred ones first.
	Peers []Peer
}

// Peer is another node.
type Peer struct {
	Node string
	// Ready: the server of the peer is ready. Better: it was seen ready later than this node's.
	Ready, Better bool
	// Why is why the server is not ready, Leaving why the peer is about to leave.
	Why, Leaving string
}

const (
	// notReadyDelay is how long a node without a ready server leaves the addresses to others; after
	// that, the addresses on this node are better than no addresses.
	notReadyDelay = 3 * time.Second
	// leavingDelay is the same for a node that is about to leave.
	leavingDelay = time.Second
	// yieldDelay is how long other nodes leave the addresses to preferred nodes.
	yieldDelay = 100 * time.Millisecond
	// stay is how long an unwilling node keeps the addresses that it claimed before it hands them
	// over; the time doubles with each claim, up to maxStays times.
	stay     = 10 * time.Second
	maxStays = 6
)

// unwilling returns why this node does not want the addresses, "" if it does, and how long the node
// leaves them to others.
func (v Serving) unwilling() (why string, holdBack time.Duration) {
	switch {
	case v.Local == NotReady:
		return "the API server on this node is not ready: " + v.Why, notReadyDelay
	case v.Leaving != "":
		return v.Leaving, leavingDelay
	}
	return "", 0
}

// handOverTarget returns why and to which node this node hands the addresses over, "" for none:
// only to a better one.
func (v Serving) handOverTarget() (why, to string) {
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

// successor returns the node to name when the addresses are handed over in any case.
func (v Serving) successor() string {
	return v.best(func(p Peer) bool { return p.Ready && p.Leaving == "" })
}

func (v Serving) best(fit func(Peer) bool) string {
	if i := slices.IndexFunc(v.Peers, fit); i >= 0 {
		return v.Peers[i].Node
	}
	return ""
}

// destination returns the node for a requested move, or the reason for a refusal.
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

// troubles lists why the peers are not chosen.
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

// campaign returns how this node asks for the next grant.
func (s State) campaign(now boottime.Instant) Campaign {
	c := Campaign{Eligible: s.Places.Up() && s.Own == "" && !s.Stopping && now >= s.ServeAt, MAC: s.Places.First().MAC, NotBefore: s.notBefore(), Ending: s.Ending}
	_, c.HoldBack = s.Serving.unwilling()
	if s.Serving.Yields {
		c.Yield = yieldDelay
	}
	return c
}

// moveRequested handles a person's request to move.
func moveRequested(s State, now boottime.Instant, to string) (State, []Action) {
	if s.Phase != Holding || !s.Grant.Held || now >= s.Grant.Until {
		return reconcile(s, now) // this node has nothing to move
	}
	node, refusal := s.Serving.destination(to)
	if s.keeps() {
		refusal = "the VIP is an address of this node itself: " + s.Own
	}
	if refusal != "" {
		return s, []Action{Refuse{Why: refusal}}
	}
	return handOver(s, "asked to move to "+node, node)
}

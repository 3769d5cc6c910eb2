package vip

import (
	"fmt"
	"slices"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Unreached says that the node By does not reach the addresses, although it reaches the API server
// of their holder directly. If By is this node, the holder is another one.
type Unreached struct{ By string }

func (Unreached) event() {}

const (
	// reportsTogether is the maximum time between the reports of two nodes that count together: each
	// reports every 5 s while it does not reach the holder, after a write of the holder.
	reportsTogether = 8 * time.Second
	// reportsPause is how long a node does not leave because of reports after it has left because of
	// reports, followed a node that has, or reported another holder. The pause doubles with each such
	// move that did not help, up to maxPauses times: if the nodes themselves are the reason, each
	// move only ends the connections of other clients.
	reportsPause = 10 * time.Minute
	maxPauses    = 6
	// reportsForgotten is how long after a move it does not count any more.
	reportsForgotten = 24 * time.Hour
)

// Reports is what other nodes report of this one, the holder.
type Reports struct {
	// By is the node that reported last, At when.
	By string
	At boottime.Instant
	// From is the earliest instant from which reports count.
	From boottime.Instant
	// Moves counts the moves in a row because of reports, from this node or to it; Moved is when the
	// last one was.
	Moves int
	Moved boottime.Instant
}

// pause returns how long no reports count after the last move.
func (r Reports) pause() time.Duration { return reportsPause << min(max(r.Moves, 1)-1, maxPauses) }

// moved counts a move because of reports.
func (r Reports) moved(now boottime.Instant) Reports {
	if now.Sub(r.Moved) > reportsForgotten {
		r.Moves = 0
	}
	r = Reports{Moves: r.Moves + 1, Moved: now}
	r.From = now.Add(r.pause())
	return r
}

// reported handles a report. Two nodes have to agree. The next holder does not leave because of
// reports for reportsPause, so reports cannot pass the addresses around (docs/adr/0017).
func reported(s State, now boottime.Instant, e Unreached) (State, []Action) {
	if e.By == s.Node {
		s.Reports.From = max(s.Reports.From, now.Add(reportsPause))
		return reconcile(s, now)
	}
	if s.Phase != Holding || !s.Grant.Held || now >= s.Grant.Until || s.keeps() || !s.Serving.knows(e.By) {
		return reconcile(s, now)
	}
	before := s.Reports
	s.Reports.By, s.Reports.At = e.By, now
	if before.By == "" || before.By == e.By || now.Sub(before.At) > reportsTogether || !s.Serving.knows(before.By) || now < s.Reports.From {
		return reconcile(s, now)
	}
	to := s.Serving.best(func(p Peer) bool {
		return p.Ready && p.Leaving == "" && (p.Node == e.By || p.Node == before.By)
	})
	if to == "" {
		return reconcile(s, now)
	}
	s.Reports = s.Reports.moved(now)
	s, actions := handOver(s, fmt.Sprintf("%s and %s do not reach the VIP on this node", before.By, e.By), to)
	s.Reported = true
	return s, actions
}

// knows tells whether a node is a known peer.
func (v Serving) knows(node string) bool {
	return slices.ContainsFunc(v.Peers, func(p Peer) bool { return p.Node == node })
}

package capi_test

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
)

// historyInterval is the time between two reads of a history. A node that is drained says why it left
// the VIP for seconds before its power is cut.
const historyInterval = 300 * time.Millisecond

// A change is an entry of the history of a node's vipd.
type change struct {
	Time                time.Time
	Kind, Holder, Cause string
	Term                int
}

// A nodeChange is a change in the history of a node.
type nodeChange struct {
	change
	node string
	at   record.Time
}

// A move is a new holder of the VIP.
type move struct {
	from, to string
	// at is when the new holder had announced the VIP.
	at   record.Time
	term int
	// left is why the former holder left, "" if it could not say that; taken is why the new one took
	// the VIP.
	left, taken string
}

// cause is the reason that the former holder gives, else that of the new one.
func (m move) cause() string { return cmp.Or(m.left, m.taken) }

// histories are the histories of all vipds, read again and again: that of a machine goes with it.
type histories struct {
	stop  context.CancelFunc
	done  chan struct{}
	mu    sync.Mutex
	nodes map[string][]change
}

// readHistories begins to read the histories of the machines that are on.
func (l *loop) readHistories(t *testing.T) *histories {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	h := &histories{stop: stop, done: make(chan struct{}), nodes: make(map[string][]change)}
	go func() {
		defer close(h.done)
		for ctx.Err() == nil {
			h.read(ctx, l)
			select {
			case <-time.After(historyInterval):
			case <-ctx.Done():
			}
		}
	}()
	return h
}

// read reads each history once. A machine without a vipd that answers, such as a worker, keeps what was
// read before.
func (h *histories) read(ctx context.Context, l *loop) {
	for _, g := range l.hypervisor.Guests() {
		if g.Machine() == nil {
			continue
		}
		var doc struct{ Changes []change }
		short, cancel := context.WithTimeout(ctx, historyInterval)
		body, err := g.Machine().Status(short, "/history")
		cancel()
		if err == nil && json.Unmarshal(body, &doc) == nil {
			h.mu.Lock()
			h.nodes[g.VM.Name] = doc.Changes
			h.mu.Unlock()
		}
	}
}

// end ends the reading, and returns the changes since a time, in their order.
func (h *histories) end(since record.Time) (out []nodeChange) {
	h.stop()
	<-h.done
	for node, changes := range h.nodes {
		for _, c := range changes {
			if at := record.Of(c.Time); at >= since {
				out = append(out, nodeChange{change: c, node: node, at: at})
			}
		}
	}
	slices.SortFunc(out, func(a, b nodeChange) int { return cmp.Compare(a.at, b.at) })
	return out
}

// moves returns the moves of a step: one for each claim in the Lease.
func (o observation) moves() (out []move) {
	for term := o.before.term + 1; term <= o.after.term; term++ {
		m := move{term: term}
		for _, c := range o.changes {
			switch {
			case c.Kind == "taken" && c.Term == term:
				m.to, m.taken, m.at = c.node, c.Cause, c.at
			case c.Kind == "left" && c.Term == term-1:
				m.from, m.left = c.node, c.Cause
			}
		}
		out = append(out, m)
	}
	return out
}

// withdrawals returns why a holder left the VIP for a while, and became the holder again: nobody else
// claimed the Lease.
func (o observation) withdrawals() (causes []string) {
	for _, c := range o.changes {
		if c.Kind == "left" && (c.Term >= o.after.term || c.at != o.lastLeft(c.Term)) {
			causes = append(causes, c.node+": "+c.Cause)
		}
	}
	return causes
}

// lastLeft returns when the holder of a term left the VIP for the last time.
func (o observation) lastLeft(term int) (at record.Time) {
	for _, c := range o.changes {
		if c.Kind == "left" && c.Term == term {
			at = c.at
		}
	}
	return at
}

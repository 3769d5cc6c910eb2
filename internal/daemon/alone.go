package daemon

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/pkg/kubeapi"
)

// aloneFor is how long a holder knows of no other node before the log says so: longer than asking
// an API server for the control-plane nodes takes.
const aloneFor = 10 * time.Second

// alone logs that this node holds the VIP and knows of no other node that could take over: at level
// info if the cluster has no other node, as a warning if the cluster could not be asked.
type alone struct {
	log     *zap.Logger
	changed chan struct{} // one slot

	mu      sync.Mutex
	holding bool
	members kubeapi.Membership
}

func newAlone(log *zap.Logger) *alone { return &alone{log: log, changed: make(chan struct{}, 1)} }

// setHolding records whether this node holds the VIP. It does not block.
func (a *alone) setHolding(holding bool) { a.set(func() { a.holding = holding }) }

// setMembers records the known control-plane nodes. It does not block.
func (a *alone) setMembers(r kubeapi.Membership) { a.set(func() { a.members = r }) }

func (a *alone) set(f func()) {
	a.mu.Lock()
	f()
	a.mu.Unlock()
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// noPeer returns why no other node is known, "" if one is known or this node does not hold the VIP.
func (a *alone) noPeer() (state string, r kubeapi.Membership) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case !a.holding || len(a.members.Peers) > 0:
		return "", a.members
	case a.members.Read:
		return "there is none", a.members
	default:
		return "not known", a.members
	}
}

// run logs until ctx ends.
func (a *alone) run(ctx context.Context) error {
	timer := time.NewTimer(aloneFor)
	timer.Stop()
	defer timer.Stop()
	is, logged := "", ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.changed:
		case <-timer.C:
			logged = is
			a.logState()
		}
		state, r := a.noPeer()
		if state == is {
			continue
		}
		is = state
		timer.Stop()
		switch {
		case state != "" && state != logged:
			timer.Reset(aloneFor)
		case state == "" && logged != "":
			logged = ""
			if len(r.Peers) > 0 {
				a.log.Info("other control-plane nodes are known", zap.Strings("nodes", nodesOf(r)))
			}
		}
	}
}

func (a *alone) logState() {
	switch state, r := a.noPeer(); state {
	case "there is none":
		a.log.Info("no other control-plane node is known",
			zap.String("consequence", "the VIP stays on this node, even if the API server of this node fails"))
	case "not known":
		a.log.Warn("control-plane nodes not read",
			zap.String("reason", r.Reason),
			zap.String("consequence", "if the API server of this node fails, the VIP cannot be handed over"))
	}
}

func nodesOf(r kubeapi.Membership) []string {
	var out []string
	for _, p := range r.Peers {
		out = append(out, p.Node)
	}
	return out
}

package vip

import (
	"context"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// The end of a process has two steps (docs/adr/0020). End asks for it: a holder offers the grant, and
// goes on until a candidate accepts; a candidate that accepted another holder's offer waits for the
// outcome. Stop ends the process at once.

// End is the request to end the process once another node can take the addresses over.
type End struct{}

// Accepted says that the node By accepts what this node, the holder, offers.
type Accepted struct{ By string }

func (End) event()      {}
func (Accepted) event() {}

// Offer offers the grant to all candidates. The first acceptance is an Accepted.
type Offer struct{}

func (Offer) action() {}

// ended handles End. A candidate tells the election that it accepts no offer from now on; the next
// step knows whether it has accepted one before.
func ended(s State, now boottime.Instant) (State, []Action) {
	switch {
	case s.Ending || s.Stopping:
		return reconcile(s, now)
	case s.Phase == Standby:
		s.Ending = true
		return s, []Action{s.campaign(now)}
	case s.worthWaiting(now):
		s.Ending = true
		return s, []Action{s.campaign(now), Offer{}}
	}
	return stop(s, now)
}

// worthWaiting tells whether a holder that is to end keeps the addresses for the next one: there are
// other nodes, and the addresses serve until then. While the VIP is an address of the node itself, the
// node answers whoever holds, so nothing is won.
func (s State) worthWaiting(now boottime.Instant) bool {
	return s.Phase == Holding && s.Grant.Held && now < s.Grant.Until && !s.keeps() && len(s.Serving.Peers) > 0
}

// accepted handles the acceptance of an offer.
func accepted(s State, now boottime.Instant, by string) (State, []Action) {
	if !s.Ending || !s.worthWaiting(now) {
		return reconcile(s, now)
	}
	return handOver(s, "stopping", by)
}

// stop ends the process at once.
func stop(s State, now boottime.Instant) (State, []Action) {
	s.Stopping = true
	if s.Phase == Standby && s.Clean {
		s.Done = true
		return s, []Action{s.campaign(now), GiveBack{}}
	}
	return handOver(s, "stopping", s.Serving.successor())
}

// End asks Run to end once another node can take the addresses over. End does not block. The end of
// Run's context ends Run at once.
func (m *Manager) End() {
	m.ending.Store(true)
	m.wakeRun()
}

// Accepted passes the acceptance of an offer. Accepted does not block; only the newest one counts.
func (m *Manager) Accepted(by string) {
	m.accepted.Store(&Accepted{By: by})
	m.wakeRun()
}

// end handles End. After the first step, the election accepts no offer, and the newest grant tells
// whether it has accepted one before.
func (m *Manager) end(ctx context.Context) {
	m.handle(ctx, End{})
	m.takeGrant(ctx)
	m.handle(ctx, Tick{})
	if s := m.state; s.Ending && !s.Stopping {
		m.log.Info("told to end, waiting for the next holder", zap.String("remedy", "a second signal ends vipd without one"))
	}
}

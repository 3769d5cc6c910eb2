package daemon

import (
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/internal/reach"
	"github.com/vipd-io/vipd/pkg/announce"
	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/health"
	"github.com/vipd-io/vipd/pkg/kubeapi"
	"github.com/vipd-io/vipd/pkg/vip"
)

// The parts do not know each other: each reports its observations and actions as events of its own
// types. The two observe methods below receive all events and pass each one to the parts that
// depend on it and to the reporters, which derive status, history, metrics and Events. Neither
// method may block.

// as adapts an observer of any event to one of events of type E.
func as[E any](observe func(any)) func(E) { return func(e E) { observe(e) } }

// observe handles an event of a part that the node has once.
func (n *node) observe(event any) {
	switch e := event.(type) {
	case kubeapi.Request:
		n.report.requestDone(e)
	case kubeapi.Disconnected: // from the node's own API server, or from a VIP
		n.monitor.ProbeNow(e.Server)
		for _, g := range n.groups {
			if e.Server == g.server {
				g.probe()
			}
		}
	case kubeapi.Membership:
		n.monitor.SetPeers(names(e.Peers))
		n.alone.setMembers(e)
		n.servers.membersChanged(e)
	case health.State:
		n.servers.healthChanged(e)
	default:
		n.log.DPanic("unknown event type", zap.String("type", fmt.Sprintf("%T", e)))
	}
}

// observe handles an event of a part of the group.
func (g *group) observe(event any) {
	switch e := event.(type) {
	case election.Status:
		g.report.statusChanged(e) // first: the Manager's reports refer to this status
		g.manager.Granted(toGrant(e))
		g.candidacy.statusChanged(e)
		g.holds.Store(e.Held)
		g.node.held()
	case election.Observation:
		if g.report.leaseObserved(e) { // the holder changed: an outage begins now
			g.probe()
		}
		g.unreached.leaseObserved(e)
	case election.Write:
		g.report.leaseWritten(e)
	case election.MoveRequest:
		g.manager.MoveTo(e.To)
	case election.Unreached:
		g.manager.Unreached(e.By)
	case election.Accepted:
		g.manager.Accepted(e.By)
	case vip.Campaign:
		g.candidacy.campaignChanged(e)
		g.report.campaignChanged(e)
	case vip.Report:
		g.report.managerReported(e)
		g.unreached.managerReported(e)
	case announce.Announced:
		g.report.announced(e.Err)
	case announce.Listening:
		g.report.listeningChanged(e.Active)
	case announce.Claim:
		if !g.node.local.ownMAC(e.MAC) {
			g.report.claimHeard(e.MAC.String(), e.Announces)
			g.manager.Claimed(e.MAC.String(), e.Answers)
		}
	case reach.Outage:
		g.report.outageChanged(e)
		g.unreached.outageChanged(e)
	default:
		g.log.DPanic("unknown event type", zap.String("type", fmt.Sprintf("%T", e)))
	}
}

// held tells the parts that depend on it whether this node holds any group.
func (n *node) held() {
	n.telling.Lock() // the last call must report the newest state
	defer n.telling.Unlock()
	held := slices.ContainsFunc(n.groups, func(g *group) bool { return g.holds.Load() })
	n.monitor.SetHolding(held)
	n.alone.setHolding(held)
}

package daemon

import (
	"context"
	"net/netip"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/internal/reach"
	"github.com/vipd-io/vipd/internal/status"
	"github.com/vipd-io/vipd/pkg/announce"
	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/kubeapi"
	"github.com/vipd-io/vipd/pkg/vip"
)

// group is a set of addresses that one node holds together or not at all: the Lease that grants
// them, the Manager that adds and removes them, the fence in the kernel, and what announces them and
// hears the claims of others.
type group struct {
	node      *node
	log       *zap.Logger
	server    string // host:port of the first address
	network   *network
	fence     fence
	alarm     *boottime.Alarm
	elector   *election.Elector
	manager   *vip.Manager
	announces *announcing
	events    *kubeapi.Events
	prober    *reach.Prober // nil for none
	unreached *unreached
	candidacy candidacy
	holds     atomic.Bool
	report    *reporter
}

func newGroup(n *node, s GroupSpec, network *network, fence fence, board *status.Board) (*group, error) {
	alarm, err := boottime.NewAlarm()
	if err != nil {
		return nil, err
	}
	c, log := n.config, n.log
	if len(n.local.virtual) > len(s.Addresses) {
		log = log.With(zap.Stringer("vip", s.Addresses[0])) // names the group
	}
	most := fence.longest(c.MaxLeaseDuration)
	longest := max(n.timing.Lease, most)
	g := &group{node: n, log: log, network: network, fence: fence, alarm: alarm, server: netip.AddrPortFrom(s.Addresses[0], c.Port).String(),
		report: &reporter{node: c.Node, board: board, metrics: n.report.metrics}}
	g.announces = newAnnouncing(announcingOptions{
		addresses: s.Addresses, holds: func() bool { return g.manager.Holds() }, repeatFor: longest, observe: as[announce.Event](g.observe),
		inquiry: newInquiry(n.local.observer.Snapshot, c.Port, func(proxy bool) { g.manager.Inquired(proxy) }, log.Named("arp")), snapshot: n.local.observer.Snapshot, log: log,
	})
	store := &election.KubeStore{API: n.api, Namespace: s.Namespace, Name: s.Lease, Establish: n.timing.Attempt}
	g.events = n.api.Events(kubeapi.EventOptions{Namespace: s.Namespace, Lease: s.Lease, UID: store.UID, Node: c.Node})
	g.report.say = g.events.Record
	g.elector = election.New(election.Options{
		Self:   n.self,
		Timing: n.timing, MaxLease: most, Alone: n.servers.onlyNode,
		Store:   store,
		Arm:     fence.arm,
		Observe: as[election.Event](g.observe),
		Named:   func(successor string) bool { return successor == c.Node || n.local.ownHost(successor) },
		Log:     log.Named("election"),
	})
	g.manager = vip.New(vip.Options{
		Node: c.Node, Longest: longest, Network: network, Fence: fence, Announcer: g.announces, Election: elector{g.elector, as[vip.Campaign](g.observe)},
		Observe: as[vip.Report](g.observe), Slack: fence.slack(), Alarm: alarm.Set, Log: log.Named("vip"),
	})
	g.unreached = &unreached{node: c.Node, serverOf: n.servers.serverOf, ready: n.api.Readyz, write: store.ReportUnreached, wrote: g.manager.Unreached,
		sameWay: network.sameWay, lastFailed: func() boottime.Instant { return 0 }, log: log.Named("reach"), now: boottime.Now, due: make(chan struct{}, 1)}
	network.nudge, network.listen = g.manager.Changed, g.announces.watch
	if c.ProbeInterval > 0 {
		g.prober = reach.New(reach.Options{Ask: g.ask, Every: c.ProbeInterval, Idle: g.manager.Holds, Expected: g.report.heldByAnother, Observe: as[reach.Outage](g.observe)})
		g.unreached.lastFailed = g.prober.Failed
	}
	return g, nil
}

func (g *group) close() { _ = g.alarm.Close() }

// ask sends a request to the VIP as a client does. Any response of the server counts as an answer.
func (g *group) ask(ctx context.Context) (bool, error) {
	_, _, known, err := g.node.api.Readyz(ctx, g.server)
	return known, err
}

// probe requests a probe of the VIP now, if the VIP is probed at all.
func (g *group) probe() {
	if g.prober != nil {
		g.prober.Nudge()
	}
}

// parts returns what has to run until the Manager has ended.
func (g *group) parts() []func(context.Context) error {
	out := append(g.announces.parts(), g.elector.Run, g.events.Run,
		func(ctx context.Context) error { return g.alarm.Run(ctx, g.manager.Wake) },
		func(ctx context.Context) error { return g.fence.watch(ctx, g.log.Named("fence"), g.manager.Changed) })
	if g.prober != nil {
		out = append(out, g.prober.Run, g.unreached.run)
	}
	return out
}

package daemon

import (
	"context"
	"sync"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/internal/config"
	"github.com/vipd-io/vipd/internal/doctor/selfcheck"
	"github.com/vipd-io/vipd/internal/status"
	"github.com/vipd-io/vipd/internal/version"
	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/health"
	"github.com/vipd-io/vipd/pkg/kubeapi"
	"github.com/vipd-io/vipd/pkg/netif"
	"github.com/vipd-io/vipd/pkg/vip"
)

// node is what a process has once, for all its groups, and the groups.
type node struct {
	log       *zap.Logger
	config    config.Config
	timing    election.Timing
	self      election.Self
	observer  *netif.Observer
	local     local
	api       *kubeapi.Client
	directory *kubeapi.Directory
	monitor   *health.Monitor
	servers   *servers
	alone     *alone
	report    *nodeReporter
	selfCheck *selfcheck.Checker
	status    *status.Server // nil for none
	groups    []*group

	telling sync.Mutex // orders the calls of held
}

// newNode creates a node and its groups; networks and fences have one element for each group, in
// the same order. Close the node, unless newNode returns an error.
func newNode(c config.Config, timing election.Timing, groups []GroupSpec, observer *netif.Observer, networks []*network, fences []fence, log *zap.Logger) (*node, error) {
	n := &node{log: log, config: c, timing: timing, observer: observer, alone: newAlone(log),
		self:  election.Self{Node: c.Node, Machine: machineID("/"), BootID: bootID(), Version: version.String()},
		local: local{observer: observer, virtual: virtual(groups), log: log.Named("network")}}
	n.api = kubeapi.New(kubeapi.Options{Server: c.APIServer, Kubeconfigs: c.Kubeconfigs, Hedge: timing.Attempt / 3,
		UserAgent: "vipd/" + version.String(), Observe: as[kubeapi.Event](n.observe), Log: log.Named("kubeapi")})
	n.directory = n.api.Directory(kubeapi.DirectoryOptions{Node: c.Node, Port: c.Port, Peers: c.Peers, Own: n.local.ownOrVirtual, Observe: as[kubeapi.Event](n.observe)})
	n.monitor = health.New(health.Options{Local: c.APIServer, Ask: n.api.Readyz, Observe: as[health.State](n.observe), Log: log.Named("health")})
	n.report = &nodeReporter{node: c.Node}
	for i, g := range groups {
		n.report.boards = append(n.report.boards, status.NewBoard(boardOptions(c, timing, g, fences[i].kind(), n.certificates, networks[i].neighbour)))
	}
	n.report.metrics = status.NewMetrics(n.report.boards...)
	n.servers = &servers{config: c, prefer: n.api.Prefer, ready: n.api.SetReady, serves: n.serves, report: n.report.serversChanged}
	for i, g := range groups {
		made, err := newGroup(n, g, networks[i], fences[i], n.report.boards[i])
		if err != nil {
			n.close()
			return nil, err
		}
		n.groups = append(n.groups, made)
	}
	n.selfCheck = selfcheck.New(c, n.report.boards[0], log.Named("doctor"))
	if c.StatusAddress != "" {
		n.status = status.New(status.Options{Address: c.StatusAddress, Live: n.live(), Ready: n.ready(),
			Boards: n.report.boards, Metrics: n.report.metrics, Log: log.Named("status")})
	}
	return n, nil
}

func (n *node) close() {
	for _, g := range n.groups {
		g.close()
	}
}

func (n *node) certificates() []status.Certificate { return certificates(n.api.Expiry()) }

// serves passes the state of the API servers to all groups.
func (n *node) serves(s vip.Serving) {
	for _, g := range n.groups {
		g.manager.Serves(s)
	}
}

// parts returns what has to run until all groups have ended.
func (n *node) parts() []func(context.Context) error {
	out := []func(context.Context) error{n.observer.Run, n.monitor.Run, n.directory.Run, n.alone.run, n.selfCheck.Run}
	if n.status != nil {
		out = append(out, n.status.Run)
	}
	for _, g := range n.groups {
		out = append(out, g.parts()...)
	}
	return out
}

package main

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/config"
	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/status"
	"github.com/vipd-io/vipd/pkg/vip"
)

// reporter says in the words of package status, and in Events, what the parts tell
// it. They tell it in passing: it asks nobody anything and keeps nobody.
type reporter struct {
	node    string
	board   *status.Board
	metrics *status.Metrics
	say     func(warning bool, reason, message string) // an Event

	mu sync.Mutex
	// Of the Lease: the newest version that named a holder, since when it is that
	// one, and when it was seen without one, 0 if it has one.
	last           election.Sight
	since, vacated boottime.Instant
	// Of the Manager.
	claim    election.Claim // of the present holding
	phase    vip.Phase
	cause    string     // of the withdrawal that is under way
	leaving  []vip.Deed // what was done of it
	claims   int        // by other machines
	conflict conflict
}

func newReporter(c config.Config, t election.Timing, fence string, certificates func() []status.Certificate, neighbour func() string) *reporter {
	r := &reporter{node: c.Node}
	o := status.BoardOptions{Node: c.Node, Version: versionString(), Namespace: c.LeaseNamespace, Name: c.LeaseName, FenceKind: fence,
		Configuration: inForce(c, t), Certificates: certificates, Neighbour: neighbour}
	for _, a := range c.Addresses {
		o.VIPs = append(o.VIPs, status.VIP{Address: a.String(), Port: c.Port})
	}
	r.board = status.NewBoard(o)
	r.metrics = status.NewMetrics(r.board)
	return r
}

// inForce is the configuration by the names of the flags. There is nothing secret
// in it: of kubeconfigs, it has the paths.
func inForce(c config.Config, t election.Timing) map[string]string {
	addresses := make([]string, 0, len(c.Addresses))
	for _, a := range c.Addresses {
		addresses = append(addresses, a.String())
	}
	probe := "off"
	if c.ProbeInterval > 0 {
		probe = c.ProbeInterval.String()
	}
	return map[string]string{
		"address": strings.Join(addresses, ","), "port": strconv.Itoa(int(c.Port)), "interface": c.Interface, "node-name": c.Node,
		"kubeconfig": strings.Join(c.Kubeconfigs, ":"), "apiserver": c.APIServer, "peer": strings.Join(c.Peers, ","), "preferred": strings.Join(c.Preferred, ","),
		"lease-namespace": c.LeaseNamespace, "lease-name": c.LeaseName, "lease-duration": t.Lease.String(), "renew-interval": t.Renew.String(),
		"manifests": c.Manifests, "fence": string(c.Fence), "status-address": c.StatusAddress, "probe-interval": probe,
		"log-format": c.LogFormat, "log-level": c.LogLevel,
	}
}

func certificates(expiry map[string]time.Time) []status.Certificate {
	var out []status.Certificate
	for _, path := range slices.Sorted(maps.Keys(expiry)) {
		out = append(out, status.Certificate{Kubeconfig: path, Expires: expiry[path].UTC()})
	}
	return out
}

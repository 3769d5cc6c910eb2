package daemon

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vipd-io/vipd/internal/config"
	"github.com/vipd-io/vipd/internal/status"
	"github.com/vipd-io/vipd/internal/version"
	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/vip"
)

// reporter converts the events of a group into status, history, metrics and Events. It does not
// block.
type reporter struct {
	node    string
	board   *status.Board
	metrics *status.Metrics
	say     func(warning bool, reason, message string) // an Event

	mu sync.Mutex
	// Of the Lease: the newest version with a holder; since when that holder is observed; since
	// when the Lease is observed without a holder, 0 if it has one.
	last           election.Observation
	since, vacated boottime.Instant
	// Of the Manager.
	claim     election.Claim // of the current holding
	phase     vip.Phase
	cause     string          // of the withdrawal in progress
	leaving   []vip.Operation // the steps of that withdrawal so far
	claims    int             // of other machines
	conflicts []conflict      // recorded in the history, in the last conflictPause
}

// boardOptions returns the options of a group's board.
func boardOptions(c config.Config, t election.Timing, g GroupSpec, fence string, certificates func() []status.Certificate, neighbour func() string) status.BoardOptions {
	o := status.BoardOptions{Node: c.Node, Version: version.String(), Namespace: g.Namespace, Name: g.Lease, FenceKind: fence,
		Configuration: inForce(c, t), Certificates: certificates, Neighbour: neighbour}
	for _, a := range g.Addresses {
		o.VIPs = append(o.VIPs, status.VIP{Address: a.String(), Port: c.Port})
	}
	return o
}

// inForce returns the configuration, keyed by the names of the flags. It contains no secrets: of a
// kubeconfig, only the path.
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
		"lease-namespace": c.LeaseNamespace, "lease-name": c.LeaseName, "lease-duration": t.Lease.String(), "max-lease-duration": c.MaxLeaseDuration.String(), "renew-interval": t.Renew.String(),
		"manifests": c.Manifests, "fence": string(c.Fence), "status-address": c.StatusAddress, "probe-interval": probe, "grace-period": c.GracePeriod.String(),
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

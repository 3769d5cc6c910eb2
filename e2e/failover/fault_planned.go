package failover

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// plannedFaults are planned moves of the VIP.
var plannedFaults = []Fault{
	{
		Promise: promise{Name: "move", Title: "vipd move", Moves: true, Within: handedOver},
		prepare: peersReady,
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			r.target = r.other(r.holder)
			at := record.Now()
			_, err := r.target.Run(ctx, moveCommand(r.target, r.target.Name)...)
			return at, err
		},
	},
	{
		Promise: promise{Name: "cordon", Title: "node cordoned", Moves: true, Within: handedOver},
		prepare: peersReady,
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			at := record.Now()
			return at, r.holder.Cordon(ctx, true)
		},
		heal: func(ctx context.Context, r *run) error { return r.holder.Cordon(ctx, false) },
	},
}

// peersReady waits until the holder knows that every API server is ready: the holder hands over to
// no other node, and probes rarely. After an earlier fault of etcd, a server may have been ready
// for longer than the holder knows.
func peersReady(ctx context.Context, r *run) error {
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	var status struct {
		APIServers []struct{ Node, State string }
	}
	err := wait.Until(ctx, 50*time.Millisecond, func() (bool, error) {
		body, err := r.holder.Status(ctx, "/status")
		if err != nil {
			return false, nil //nolint:nilerr // a vipd that was started a moment ago is asked again
		}
		if err := json.Unmarshal(body, &status); err != nil {
			return false, err
		}
		ready := 0
		for _, s := range status.APIServers {
			if s.State == "ready" {
				ready++
			}
		}
		return ready == len(r.lab.Nodes), nil
	})
	if err != nil {
		return fmt.Errorf("wait until %s knows that all API servers are ready: %w; it says %v", r.holder.Name, err, status.APIServers)
	}
	return nil
}

// moveCommand is the command that, run on n, moves the VIP to a node, or to any other node for "".
func moveCommand(n *lab.Node, to string) []string {
	argv := []string{n.VipdBinary(), "move", "--kubeconfig", n.Kubeconfig()}
	if to != "" {
		argv = append(argv, "--to", to)
	}
	return argv
}

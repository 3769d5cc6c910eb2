package failover

import (
	"context"

	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/record"
)

// plannedFaults are none: somebody wants the VIP to be elsewhere.
var plannedFaults = []Fault{
	{
		Promise: promise{Name: "move", Title: "vipd move", Moves: true, Within: handedOver},
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			r.target = r.other(r.holder)
			at := record.Now()
			_, err := r.target.Run(ctx, moveCommand(r.target, r.target.Name)...)
			return at, err
		},
	},
	{
		Promise: promise{Name: "cordon", Title: "node cordoned", Moves: true, Within: handedOver},
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			at := record.Now()
			return at, r.holder.Cordon(ctx, true)
		},
		heal: func(ctx context.Context, r *run) error { return r.holder.Cordon(ctx, false) },
	},
}

// moveCommand is the command that, run on n, moves the VIP to a node, or with ""
// to any other.
func moveCommand(n *lab.Node, to string) []string {
	argv := []string{n.VipdBinary(), "move", "--kubeconfig", n.Kubeconfig()}
	if to != "" {
		argv = append(argv, "--to", to)
	}
	return argv
}

package failover

import (
	"context"

	"github.com/vipd-io/vipd/e2e/judge/record"
)

// machineFaults are faults of the whole node.
var machineFaults = []Fault{
	{
		touches: all &^ address, // the node loses its addresses anyway
		Promise: promise{Name: "poweroff", Title: "power-off", Moves: true, Crippled: true, Within: ranOut},
		Note:    "vipd, API server, etcd and the link at once: the others wait until the lease has run out.",
		inject:  func(_ context.Context, r *run) (record.Time, error) { return r.holder.PowerOff() },
		heal: func(ctx context.Context, r *run) error {
			if err := r.holder.PowerOn(ctx); err != nil {
				return err
			}
			return startVipd(ctx, r)
		},
	},
	{
		touches: cable | etcd | server,
		Promise: promise{Name: "linkdown", Title: "link of the node down", Moves: true, Within: ranOut},
		inject: func(_ context.Context, r *run) (record.Time, error) {
			at := record.Now()
			return at, r.holder.LinkDown()
		},
		heal: healLink,
	},
}

package failover

import (
	"context"
	"syscall"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
)

// apiServerFaults are faults of the holder's API server. A VIP that leads to a dead API server is
// useless, so the VIP moves.
var apiServerFaults = []Fault{
	{
		Promise: promise{Name: "apikill", Title: "SIGKILL to the API server", Moves: true, Within: handedOver},
		Note:    "vipd notices the broken connections, finds another API server ready, and hands the VIP over through that server.",
		inject:  func(_ context.Context, r *run) (record.Time, error) { return r.holder.APIServer.Kill() },
		heal:    restartAPIServer,
	},
	{
		Promise: promise{Name: "apihang", Title: "SIGSTOP to the API server", Moves: true, Within: noticed},
		inject:  func(_ context.Context, r *run) (record.Time, error) { return r.holder.APIServer.Pause() },
		heal: func(ctx context.Context, r *run) error {
			if _, err := r.holder.APIServer.Resume(); err != nil {
				return err
			}
			return r.holder.WaitReady(ctx)
		},
	},
	{
		// The API server reports that it is about to end, and serves for 3 s more: see LabOptions.
		Promise: promise{Name: "apistop", Title: "SIGTERM to the API server", Moves: true, Within: handedOver},
		inject: func(_ context.Context, r *run) (record.Time, error) {
			return r.holder.APIServer.Signal(syscall.SIGTERM)
		},
		heal: restartAPIServer,
	},
	{
		Promise: promise{Name: "apipause", Title: "API server stopped for 300 ms"},
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			return hold(ctx, 300*time.Millisecond, r.holder.APIServer)
		},
	},
}

func restartAPIServer(ctx context.Context, r *run) error { return r.holder.RestartAPIServer(ctx) }

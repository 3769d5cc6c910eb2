package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/record"
)

// A Fault is something that can happen to the holder whatever manages the VIP
// there, or one of vipd's.
type Fault struct {
	Name, Title string

	// inject does it and returns the time just before.
	inject func(n *lab.Node, others []*lab.Host) (record.Time, error)
	// after, if set, goes on when the VIP has moved, still under observation.
	after func(n *lab.Node) error
	// heal brings the node back, without a manager.
	heal func(ctx context.Context, n *lab.Node) error
	// lasts is for how long it is watched if nothing is to happen.
	lasts time.Duration
	// only, if set, is a fault that only vipd can be tried with.
	only *failover.Fault
}

// stopGrace is how long a daemon may take after SIGTERM.
const stopGrace = 5 * time.Second

// shared are the faults for all contenders. SIGKILL and SIGSTOP reach the daemon
// and its children at once, as kubelet's out-of-memory killer and the freezer do
// it to a container. Nothing starts it again.
var shared = []Fault{
	{
		Name: "sigterm", Title: "manager: SIGTERM",
		inject: func(n *lab.Node, _ []*lab.Host) (record.Time, error) { return n.Vipd.Stop(stopGrace) },
	},
	{
		Name: "sigkill", Title: "manager: SIGKILL, not restarted",
		inject: func(n *lab.Node, _ []*lab.Host) (record.Time, error) { return n.Vipd.Kill() },
	},
	{
		Name: "sigstop", Title: "manager: SIGSTOP, later SIGCONT",
		inject: func(n *lab.Node, _ []*lab.Host) (record.Time, error) { return n.Vipd.Pause() },
		after:  func(n *lab.Node) error { _, err := n.Vipd.Resume(); return err },
	},
	{
		Name: "poweroff", Title: "node: power-off",
		inject: func(n *lab.Node, _ []*lab.Host) (record.Time, error) { return n.PowerOff() },
		heal:   func(ctx context.Context, n *lab.Node) error { return n.PowerOn(ctx) },
	},
	{
		Name: "linkdown", Title: "node: link down",
		inject: func(n *lab.Node, _ []*lab.Host) (record.Time, error) { at := record.Now(); return at, n.LinkDown() },
		heal:   func(_ context.Context, n *lab.Node) error { return n.LinkUp() },
	},
	{
		// Clients still reach all nodes.
		Name: "cutstore", Title: "node: cut off from the other nodes",
		inject: func(n *lab.Node, others []*lab.Host) (record.Time, error) {
			at := record.Now()
			return at, n.Cut(others...)
		},
		heal: func(_ context.Context, n *lab.Node) error { return n.Heal() },
	},
	{
		Name: "apikill", Title: "API server: SIGKILL",
		inject: func(n *lab.Node, _ []*lab.Host) (record.Time, error) { return n.APIServer.Kill() },
		heal:   func(ctx context.Context, n *lab.Node) error { return n.RestartAPIServer(ctx) },
	},
	{
		Name: "apihang", Title: "API server: hangs (SIGSTOP)",
		inject: func(n *lab.Node, _ []*lab.Host) (record.Time, error) { return n.APIServer.Pause() },
		heal: func(_ context.Context, n *lab.Node) error {
			_, err := n.APIServer.Resume()
			return err
		},
	},
}

// none is no fault for a while.
func none(d time.Duration) Fault {
	return Fault{
		Name: "none", Title: fmt.Sprintf("none, for %v", d), lasts: d,
		inject: func(*lab.Node, []*lab.Host) (record.Time, error) { return record.Now(), nil },
	}
}

// vipdsTitles are those of vipd's faults that are in every bench.
var vipdsTitles = map[string]string{"move": "planned move"}

// Faults finds faults by their names: the shared ones and vipd's. Without names
// they are those of every bench, with the name "all" all that there are.
func Faults(names []string) ([]Fault, error) {
	known := slices.Clone(shared)
	for _, f := range failover.Faults {
		if !slices.ContainsFunc(shared, func(s Fault) bool { return s.Name == f.Name }) {
			known = append(known, vipdsFault(f))
		}
	}
	switch {
	case len(names) == 0:
		return slices.DeleteFunc(known, func(f Fault) bool { return f.only != nil && vipdsTitles[f.Name] == "" }), nil
	case slices.Equal(names, []string{"all"}):
		return known, nil
	}
	var out []Fault
	for _, name := range names {
		i := slices.IndexFunc(known, func(f Fault) bool { return f.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("no fault %q", name)
		}
		out = append(out, known[i])
	}
	return out, nil
}

func vipdsFault(f failover.Fault) Fault {
	title := vipdsTitles[f.Name]
	if title == "" {
		title = f.Title
	}
	return Fault{Name: f.Name, Title: title, only: &f}
}

// notRunning is no error where the daemon may have ended before.
func notRunning(err error) error {
	if errors.Is(err, lab.ErrNotRunning) {
		return nil
	}
	return err
}

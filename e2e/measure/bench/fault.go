package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
)

// A Fault is a fault of the holder with any manager of the VIP, or one of vipd's own.
type Fault struct {
	Name, Title string

	// inject injects the fault and returns the time just before.
	inject func(n *lab.Node, others []*lab.Host) (record.Time, error)
	// after, if set, is called after the VIP has moved, still under observation.
	after func(n *lab.Node) error
	// heal repairs the node, without starting a manager.
	heal func(ctx context.Context, n *lab.Node) error
	// lasts is for how long to observe if nothing should happen.
	lasts time.Duration
	// only, if set, is a fault that applies to vipd only.
	only *failover.Fault
}

// stopGrace is how long a daemon may take to end after SIGTERM.
const stopGrace = 5 * time.Second

// shared are the faults for all contenders. SIGKILL and SIGSTOP reach the daemon and its children
// at once, as the out-of-memory killer and the freezer do it to a container. The daemon is not
// restarted.
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

// none returns a period without a fault.
func none(d time.Duration) Fault {
	return Fault{
		Name: "none", Title: fmt.Sprintf("none, for %v", d), lasts: d,
		inject: func(*lab.Node, []*lab.Host) (record.Time, error) { return record.Now(), nil },
	}
}

// vipdsTitles are the titles of vipd's own faults in every benchmark.
var vipdsTitles = map[string]string{"move": "planned move"}

// Faults returns the faults with the given names, shared or vipd's. Without names it returns those
// of every benchmark, with the name "all" all faults.
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

// notRunning ignores the error of a daemon that may have ended before.
func notRunning(err error) error {
	if errors.Is(err, lab.ErrNotRunning) {
		return nil
	}
	return err
}

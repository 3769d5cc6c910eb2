package scale

import (
	"context"
	"slices"
	"time"

	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// maxTakeover is the largest number of nodes with takeovers. When 100 nodes claim at once on two
// processors, the API servers do not answer for minutes.
const maxTakeover = 25

// Options configures Run.
type Options struct {
	Points []Point
	// Window is for how long each point is measured at rest.
	Window time.Duration
	// Calm is how long to wait before: a new holder announces itself each second at first.
	Calm time.Duration
	// Runs is the number of takeovers of each kind at each number of nodes.
	Runs int
	// Say is called with each step.
	Say func(format string, args ...any)
}

// LabOptions returns the options of a lab whose API servers have no Leases of their own, whose
// writes cause conflicts: so all counted ones are vipd's.
func LabOptions(bin lab.Binaries) lab.Options {
	return lab.Options{Binaries: bin, APIServerFlags: []string{"--feature-gates=APIServerIdentity=false,UnknownVersionInteroperabilityProxy=false"}}
}

// Calm is longer than the time in which a new holder announces itself each second.
const Calm = 7 * time.Second

// Run measures all points in one lab without a running vipd.
func Run(ctx context.Context, l *lab.Lab, opts Options) (Report, error) {
	var r Report
	c, err := newCluster(l, opts.Calm)
	if err != nil {
		return r, err
	}
	opts.Say("without vipd")
	if r.Before, err = c.measure(ctx, opts.Window); err != nil {
		return r, err
	}
	for _, p := range opts.Points {
		f, err := c.at(ctx, p, opts)
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
		if err != nil {
			opts.Say("  failed: %v", err)
			f.Point, f.Failed = p, err.Error()
		}
		r.Figures = append(r.Figures, f)
	}
	opts.Say("without vipd again")
	if err := c.end(ctx); err != nil {
		return r, err
	}
	if r.After, err = c.measure(ctx, opts.Window); err != nil {
		return r, err
	}
	r.subtract()
	return r, nil
}

// at measures one point.
func (c *cluster) at(ctx context.Context, p Point, opts Options) (Figures, error) {
	opts.Say("%s", p)
	if err := c.resize(ctx, p); err != nil {
		return Figures{}, err
	}
	measure := c.measureEach
	if p.VIPs > 1 {
		measure = c.measure
	}
	f, err := measure(ctx, opts.Window)
	if err != nil {
		return f, err
	}
	opts.Say("  %.0f requests/s, %.0f watch events/s, %.0f frames/s, vipd %.0f MiB, %.2f processors busy",
		f.Requests.Total(), f.WatchEvents, f.APIFrames+f.VIPFrames, f.Vipd.Resident, f.Busy)
	if p != (Point{Nodes: p.Nodes, VIPs: 1, Servers: planes}) || p.Nodes > maxTakeover {
		return f, nil
	}
	for range opts.Runs {
		for _, signal := range []string{"SIGTERM", "SIGKILL"} {
			t, err := c.takeover(ctx, signal)
			if err != nil {
				return f, err
			}
			opts.Say("  %s: %s -> %s after %.3f s, %d writes refused, %d reads", signal, t.From, t.To, t.Seconds, t.Refused, t.Reads)
			f.Takeovers = append(f.Takeovers, t)
		}
	}
	return f, c.moveToControlPlane(ctx) // while the cluster is still small
}

// end stops all vipds, as at the beginning.
func (c *cluster) end(ctx context.Context) error {
	if err := c.stop(c.machines); err != nil {
		return err
	}
	c.machines, c.point = nil, Point{}
	return wait.For(ctx, c.calm)
}

// subtract subtracts from each point what a cluster without vipd has, the mean of before and after.
func (r *Report) subtract() {
	rest := make(Rates)
	for _, f := range []Figures{r.Before, r.After} {
		for kind, n := range f.Requests {
			rest[kind] += n / 2
		}
	}
	for i := range r.Figures {
		f := &r.Figures[i]
		f.Requests = f.Requests.over(rest)
		f.WatchEvents = max(0, f.WatchEvents-(r.Before.WatchEvents+r.After.WatchEvents)/2)
		f.ARPFrames = max(0, f.ARPFrames-(r.Before.ARPFrames+r.After.ARPFrames)/2)
	}
}

// median returns the median, for an even number the mean of the middle two, and 0 for none.
func median(list []float64) float64 {
	s := slices.Sorted(slices.Values(list))
	if len(s) == 0 {
		return 0
	}
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

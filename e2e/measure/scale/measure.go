package scale

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// reconnect is the time that a vipd needs to connect through a proxy, and without it again.
const reconnect = 2 * time.Second

// snapshot is all counters at one moment.
type snapshot struct {
	at     record.Time
	frames lab.Frames
	usage  map[lab.Daemon]lab.Usage
	busy   time.Duration // of all processors
}

func (c *cluster) snapshot() (s snapshot, err error) {
	s = snapshot{at: record.Now(), usage: make(map[lab.Daemon]lab.Usage)}
	for _, p := range c.processes() {
		if s.usage[p], err = lab.UsageOf(p); err != nil {
			return s, err
		}
	}
	if s.frames, err = c.lab.Frames(); err != nil {
		return s, err
	}
	stat, err := os.ReadFile("/proc/stat")
	if err == nil {
		s.busy, err = busy(stat)
	}
	return s, err
}

func (c *cluster) processes() (all []lab.Daemon) {
	for _, n := range c.lab.Nodes {
		all = append(all, n.APIServer, n.Etcd)
	}
	for _, m := range c.machines {
		all = append(all, m.vipds...)
	}
	return all
}

// busy returns how long the processors were busy (proc(5)): the sum of the first line's times
// without the fourth, idle, and the fifth, waiting for a disk.
func busy(stat []byte) (time.Duration, error) {
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) < 9 || string(fields[0]) != "cpu" {
		return 0, fmt.Errorf("read /proc/stat: %q", line)
	}
	var ticks int
	for i, f := range fields[1:9] { // the following times are of guests, and included in these
		n, err := strconv.Atoi(string(f))
		if err != nil {
			return 0, fmt.Errorf("read /proc/stat: %w", err)
		}
		if i != 3 && i != 4 {
			ticks += n
		}
	}
	return time.Duration(ticks) * lab.ClockTick, nil
}

// measure measures the cluster at rest.
func (c *cluster) measure(ctx context.Context, window time.Duration) (Figures, error) {
	holders, err := c.holders(ctx)
	if err != nil {
		return Figures{}, err
	}
	counted, err := scrape(ctx, c.lab)
	if err != nil {
		return Figures{}, err
	}
	before, err := c.snapshot()
	if err != nil {
		return Figures{}, err
	}
	if err := wait.For(ctx, window); err != nil {
		return Figures{}, err
	}
	after, err := c.snapshot()
	if err != nil {
		return Figures{}, err
	}
	recounted, err := scrape(ctx, c.lab)
	if err != nil {
		return Figures{}, err
	}
	f := c.figures(before, after, holders)
	f.Requests = recounted.requests.since(counted.requests, recounted.at.Sub(counted.at).Seconds())
	f.WatchEvents = (recounted.events - counted.events) / recounted.at.Sub(counted.at).Seconds()
	return f, nil
}

// holders returns the vipds that have their VIP.
func (c *cluster) holders(ctx context.Context) (map[lab.Daemon]bool, error) {
	out := make(map[lab.Daemon]bool)
	for i := range c.point.VIPs {
		m, err := c.holder(ctx, i)
		if err != nil {
			return nil, err
		}
		if m == nil {
			return nil, fmt.Errorf("nobody has %s", c.vip(i))
		}
		out[m.vipds[i]] = true
	}
	return out, nil
}

// figures returns the differences of two snapshots.
func (c *cluster) figures(before, after snapshot, holders map[lab.Daemon]bool) Figures {
	seconds := after.at.Sub(before.at).Seconds()
	of := func(p lab.Daemon) Process {
		u := after.usage[p]
		return Process{
			CPU:      (u.CPU - before.usage[p].CPU).Seconds() / seconds,
			Resident: float64(u.Resident) / (1 << 20), Anonymous: float64(u.Anonymous) / (1 << 20),
		}
	}
	var servers, etcds, held, stood []Process
	for _, n := range c.lab.Nodes {
		servers, etcds = append(servers, of(n.APIServer)), append(etcds, of(n.Etcd))
	}
	for _, m := range c.machines {
		for _, p := range m.vipds {
			if holders[p] {
				held = append(held, of(p))
			} else {
				stood = append(stood, of(p))
			}
		}
	}
	rate := func(before, after uint64) float64 { return float64(after-before) / seconds }
	return Figures{
		Point: c.point, Seconds: seconds,
		APIFrames: rate(before.frames.API, after.frames.API), VIPFrames: rate(before.frames.VIPs, after.frames.VIPs),
		ARPFrames: rate(before.frames.OfNode, after.frames.OfNode),
		Vipd:      sum(slices.Concat(held, stood)), OfHolder: medians(held), OfStandby: medians(stood),
		APIServer: sum(servers), Etcd: sum(etcds), Busy: (after.busy - before.busy).Seconds() / seconds,
	}
}

// measureEach calls measure, and also counts the requests of the first VIP's holder and of one
// standby, both on nodes, by proxies.
func (c *cluster) measureEach(ctx context.Context, window time.Duration) (Figures, error) {
	if err := c.moveToControlPlane(ctx); err != nil {
		return Figures{}, err
	}
	f, err := c.proxied(ctx, window)
	if err != nil {
		return f, err
	}
	return f, wait.For(ctx, reconnect)
}

// proxied measures while proxies count.
func (c *cluster) proxied(ctx context.Context, window time.Duration) (f Figures, err error) {
	h, err := c.holder(ctx, 0)
	if err != nil {
		return f, err
	}
	a := c.node(h)
	b := c.lab.Nodes[0]
	if a == b {
		b = c.lab.Nodes[1]
	}
	var ofA, ofB counting
	undo, err := a.Interpose(ofA.count)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, undo()) }()
	undoB, err := b.Interpose(ofB.count)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, undoB()) }()
	if err := wait.For(ctx, reconnect); err != nil {
		return f, err
	}
	before, begin := [2]Rates{ofA.counts(), ofB.counts()}, record.Now()
	if f, err = c.measure(ctx, window); err != nil {
		return f, err
	}
	seconds := record.Now().Sub(begin).Seconds()
	f.Holder, f.Standby = ofA.counts().since(before[0], seconds), ofB.counts().since(before[1], seconds)
	return f, nil
}

// counting counts requests by kind.
type counting struct {
	mu   sync.Mutex
	seen Rates
}

func (c *counting) count(r *http.Request) lab.Effect {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen = make(Rates)
	}
	c.seen[kindOfRequest(r)]++
	return lab.Effect{}
}

func (c *counting) counts() Rates {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.seen)
}

package simulation

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/vipd-io/vipd/internal/bubble"
	"github.com/vipd-io/vipd/internal/leasetest"
	"github.com/vipd-io/vipd/pkg/election"
)

// rules configure a scenario: the possible accidents, and the differences from vipd.
type rules struct {
	leases   [][]time.Duration               // one set per scenario, one duration per process
	lifetime bool                            // kernels without nftables
	drift    float64                         // the share of the margin's maxima that clocks use
	naps     bool                            // machines are suspended
	pause    time.Duration                   // the longest, 0 for none
	hang     time.Duration                   // the longest hang of a single call into the kernel, 0 for none
	hung     []draw                          // calls that hang often
	trip     func(*node, draw) time.Duration // pauses at calls, instead of random ones
	kills    bool                            // processes are killed, machines reboot
	damage   bool                            // another program damages the tables
	extra    func(*cluster, *node) bool      // a frequent accident
	length   int                             // in accidents, 0 for the default
	late     time.Duration                   // how much later than the kernel's timers an end may be
	change   func(p *process, s *dependencies)
}

// cluster is the nodes and what they share, in one bubble.
type cluster struct {
	t       *testing.T
	seed    uint64
	rules   rules
	rng     *rand.Rand // of the scenario
	began   time.Time
	timings []election.Timing
	longest time.Duration // of the configured lease durations
	most    time.Duration // the maximum of a lease
	server  leasetest.Server
	nodes   []*node
	peace   atomic.Bool  // no more accidents
	outage  atomic.Bool  // no node reaches the store
	sync    atomic.Int64 // how long a write to the store takes, 0 for no time
	// The lag of the API servers' caches, which serve the watches: a slow etcd member, or a starved
	// server.
	caches [2]atomic.Int64
	agenda []task
	resets map[int]bool // versions in the history at which the term may restart

	mu     sync.Mutex
	notes  []note
	wrongs []wrong
	events census
}

type note struct {
	at     time.Duration
	format string
	args   []any
}

// outcome is the result of a scenario.
type outcome struct {
	seed   uint64
	wrongs []wrong
	notes  []note
	events census
	took   time.Duration // in simulated time
}

// play runs the scenario of a seed from beginning to end.
func play(t *testing.T, seed uint64, r rules) (o outcome) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		c := newCluster(t, seed, r)
		c.scenario()
		c.verdict()
		o = outcome{seed: seed, wrongs: c.wrongs, notes: c.notes, events: c.events, took: c.now()}
	})
	return o
}

func newCluster(t *testing.T, seed uint64, r rules) *cluster {
	c := &cluster{t: t, seed: seed, rules: r, rng: rand.New(rand.NewPCG(seed, 23)), began: time.Now(), resets: make(map[int]bool), events: make(census)}
	for _, lease := range r.leases[c.rng.IntN(len(r.leases))] {
		timing, err := election.NewTiming(lease, 0)
		if err != nil {
			t.Fatal(err)
		}
		c.timings, c.longest = append(c.timings, timing), max(c.longest, lease)
	}
	c.most = c.longest
	if !r.lifetime && c.rng.IntN(2) == 0 {
		c.most += time.Duration(c.rng.IntN(30)) * time.Second
	}
	sizes := []int{3, 3, 3, 4, 5, 5, 7, 9}
	for i := range sizes[c.rng.IntN(len(sizes))] {
		c.nodes = append(c.nodes, c.newNode(i))
	}
	if c.rng.IntN(10) == 0 {
		c.nodes[1].self = c.nodes[0].self // a machine was cloned
	}
	for _, n := range c.nodes {
		c.note("%s: named %s, clock slewed by %d ppm, %d ppm fast without that", n.name, n.self, n.rates.slew, n.rates.crystal)
	}
	return c
}

// now returns the simulated time.
func (c *cluster) now() time.Duration { return time.Since(c.began) }

// calm tells whether there are no more accidents.
func (c *cluster) calm() bool { return c.peace.Load() }

// note records a line for the report.
func (c *cluster) note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notes = append(c.notes, note{c.now(), format, args})
}

func (n note) String() string {
	return fmt.Sprintf("%12.6f  ", n.at.Seconds()) + fmt.Sprintf(n.format, n.args...)
}

// log returns a logger into the notes if a single scenario is run, else one that discards.
func (c *cluster) log(name string) *zap.Logger {
	if *flagSeed < 0 {
		return nil
	}
	enc := zapcore.NewConsoleEncoder(zapcore.EncoderConfig{MessageKey: "m"})
	return zap.New(zapcore.NewCore(enc, zapcore.AddSync(writer(func(b string) { c.note("%s: log: %s", name, b) })), zap.DebugLevel))
}

type writer func(string)

func (w writer) Write(b []byte) (int, error) {
	w(string(b[:max(0, len(b)-1)]))
	return len(b), nil
}

// task is an action of the scenario at a time.
type task struct {
	at time.Duration
	do func()
}

// after schedules an action.
func (c *cluster) after(d time.Duration, do func()) {
	t := task{c.now() + d, do}
	i, _ := slices.BinarySearchFunc(c.agenda, t, func(a, b task) int { return int(a.at - b.at) })
	c.agenda = slices.Insert(c.agenda, i, t)
}

// until runs the scheduled actions up to a time from now.
func (c *cluster) until(d time.Duration) {
	end := c.now() + d
	for len(c.agenda) > 0 && c.agenda[0].at <= end {
		t := c.agenda[0]
		c.agenda = c.agenda[1:]
		c.sleep(t.at)
		t.do()
	}
	c.sleep(end)
}

func (c *cluster) sleep(until time.Duration) {
	time.Sleep(until - c.now())
	synctest.Wait()
}

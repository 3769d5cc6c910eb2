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

	"github.com/vipd-io/vipd/internal/leasetest"
	"github.com/vipd-io/vipd/pkg/election"
)

// rules are what may happen in a story, and what is built otherwise than in vipd.
type rules struct {
	leases   [][]time.Duration               // one of these sets, from which each process has one
	lifetime bool                            // kernels without nftables
	drift    float64                         // how much of what the margin allows clocks use up
	pause    time.Duration                   // the longest, 0 for none
	trip     func(*node, draw) time.Duration // pauses at calls, instead
	kills    bool                            // processes are killed, machines reboot
	damage   bool                            // the tables are, by somebody else
	extra    func(*cluster, *node) bool      // an accident that is frequent
	length   int                             // in accidents, 0 for the usual
	late     time.Duration                   // how much later than the kernel's timers an end may be
	change   func(p *process, s *seams)
}

// cluster is the nodes and all they have in common, in one bubble.
type cluster struct {
	t       *testing.T
	seed    uint64
	rules   rules
	rng     *rand.Rand // the story's
	began   time.Time
	timings []election.Timing
	longest time.Duration // of their leases
	server  leasetest.Server
	nodes   []*node
	peace   atomic.Bool // no more accidents
	outage  atomic.Bool // nobody reaches the store
	agenda  []task
	resets  map[int]bool // versions in the history at which the term may start anew

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

// outcome is what became of a story.
type outcome struct {
	seed   uint64
	wrongs []wrong
	notes  []note
	events census
	took   time.Duration // simulated
}

// play runs the story of a seed from beginning to end.
func play(t *testing.T, seed uint64, r rules) (o outcome) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, seed, r)
		c.story()
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
	sizes := []int{3, 3, 3, 4, 5, 5, 7, 9}
	for i := range sizes[c.rng.IntN(len(sizes))] {
		c.nodes = append(c.nodes, c.newNode(i))
	}
	if c.rng.IntN(10) == 0 {
		c.nodes[1].self = c.nodes[0].self // somebody copied a machine
	}
	for _, n := range c.nodes {
		c.note("%s: named %s, clock %d ppm slow", n.name, n.self, n.slow)
	}
	return c
}

// now is simulated time.
func (c *cluster) now() time.Duration { return time.Since(c.began) }

// calm: no more accidents.
func (c *cluster) calm() bool { return c.peace.Load() }

// note keeps what may be told if the story ends badly.
func (c *cluster) note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notes = append(c.notes, note{c.now(), format, args})
}

func (n note) String() string {
	return fmt.Sprintf("%12.6f  ", n.at.Seconds()) + fmt.Sprintf(n.format, n.args...)
}

// log is what vipd logs, in the notes, when a single story is told.
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

// task is what the story does at a time.
type task struct {
	at time.Duration
	do func()
}

// after puts something on the agenda.
func (c *cluster) after(d time.Duration, do func()) {
	t := task{c.now() + d, do}
	i, _ := slices.BinarySearchFunc(c.agenda, t, func(a, b task) int { return int(a.at - b.at) })
	c.agenda = slices.Insert(c.agenda, i, t)
}

// until goes through the agenda up to a time from now.
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

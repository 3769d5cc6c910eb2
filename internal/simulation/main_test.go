package simulation

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var (
	flagSeeds = flag.Int("seeds", scenarios(), "number of scenarios in TestNodes; a third of that in other tests")
	flagSeed  = flag.Int64("seed", -1, "the one scenario to play, with its log")
)

// scenarios returns the default number of scenarios, which take half a minute.
func scenarios() int {
	if raced {
		return 24
	}
	return 300
}

var fresh = uint64(time.Now().UnixMicro())

// seedOf returns the seed of a scenario: some seeds are the same in each run, at least half are
// new.
func seedOf(i, scenarios int) uint64 {
	if i < min(50, scenarios/2) {
		return uint64(i)
	}
	return fresh + uint64(i)
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ordinary is the unchanged vipd, with all accidents that it promises to survive.
func ordinary() rules {
	return rules{
		// The last set is a rolling change of the setting.
		leases: [][]time.Duration{{2 * time.Second}, {3 * time.Second}, {3 * time.Second}, {3 * time.Second}, {10 * time.Second}, {2 * time.Second, 3 * time.Second, 10 * time.Second}},
		drift:  1, kills: true, damage: true,
		// Tables forget an address half a minute after its last ticket: see
		// TestPauseThatOutlastsTheFence.
		pause: 25 * time.Second, hang: 4 * time.Second,
	}
}

// TestNodes plays scenarios of whole nodes; no promise may be broken.
func TestNodes(t *testing.T) {
	events := playAll(t, *flagSeeds, ordinary())
	if missing := events.missing(*flagSeeds); counted() && len(missing) > 0 {
		t.Errorf("hardly ever happened: %q", missing)
	}
}

// playAll plays that many scenarios, on all processors.
func playAll(t *testing.T, seeds int, r rules) census {
	t.Helper()
	if *flagSeed >= 0 {
		o := playWatched(t, uint64(*flagSeed), r)
		t.Logf("the scenario of seed %d:\n%s", o.seed, lines(o.notes))
		report(t, o)
		return o.events
	}
	var next atomic.Int64
	var mu sync.Mutex
	var simulated time.Duration
	events := make(census)
	began := time.Now()
	t.Run("seeds", func(t *testing.T) {
		for range runtime.GOMAXPROCS(0) {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for i := int(next.Add(1)) - 1; i < seeds; i = int(next.Add(1)) - 1 {
					o := playWatched(t, seedOf(i, seeds), r)
					report(t, o)
					mu.Lock()
					simulated += o.took
					events.add(o.events)
					mu.Unlock()
				}
			})
		}
	})
	t.Logf("%d scenarios, %.0f a minute; in %s simulated: %s", seeds, float64(seeds)/time.Since(began).Minutes(), simulated.Round(time.Second), events)
	// More than two per scenario were counted; fewer than a quarter per scenario would be far
	// beyond chance, even in the shortest run.
	if moves := events[byRelease] + events[byExpiry]; moves < seeds/4 {
		t.Errorf("the Lease changed hands %d times only", moves)
	}
	return events
}

// report reports what went wrong in a scenario, and how to repeat it.
func report(t *testing.T, o outcome) {
	t.Helper()
	if len(o.wrongs) > 0 {
		t.Errorf("seed %d:\n%s\nwhat came before:\n%s\nto see all of it:\n\tgo test ./internal/simulation -run '^%s$' -seed %d -v",
			o.seed, lines(o.wrongs), lines(o.before()), strings.SplitN(t.Name(), "/seeds", 2)[0], o.seed)
	}
}

// before returns the last notes before the first broken promise.
func (o outcome) before() []note {
	last := slices.IndexFunc(o.notes, func(n note) bool { return n.at > o.wrongs[0].at })
	if last < 0 {
		last = len(o.notes)
	}
	return o.notes[max(0, last-40):last]
}

func lines[T fmt.Stringer](all []T) string {
	var out []string
	for _, l := range all {
		out = append(out, l.String())
	}
	return strings.Join(out, "\n")
}

// playWatched exits the process if a scenario takes so long that fake time must be standing still:
// nothing inside the bubble would ever end it.
func playWatched(t *testing.T, seed uint64, r rules) outcome {
	t.Helper()
	watchdog := time.AfterFunc(time.Minute, func() {
		all := make([]byte, 1<<20)
		all = all[:runtime.Stack(all, true)]
		fmt.Fprintf(os.Stderr, "seed %d of %s: fake time stands still\n%s\n", seed, t.Name(), all)
		os.Exit(2)
	})
	defer watchdog.Stop()
	return play(t, seed, r)
}

// TestSameSeed: a seed gives the same scenario in a second run, nearly always.
func TestSameSeed(t *testing.T) {
	const seeds = 8
	differ := 0
	for seed := range uint64(seeds) {
		a, b := playWatched(t, seed, ordinary()).notes, playWatched(t, seed, ordinary()).notes
		for i := range min(len(a), len(b)) {
			if a[i].String() != b[i].String() {
				differ++
				t.Logf("seed %d: the first time\n%s\nand the second\n%s", seed, a[i], b[i])
				break
			}
		}
	}
	t.Logf("%d of %d scenarios differ", differ, seeds)
	if differ == seeds {
		t.Error("every scenario differed in the second run")
	}
}

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
	flagSeeds = flag.Int("seeds", 80, "how many stories to play in TestNodes; a third of it in others")
	flagSeed  = flag.Int64("seed", -1, "the one story to play, and to tell")
)

var fresh = uint64(time.Now().UnixMicro())

// seedOf is that of a story of so many: some are the same in each run, at least
// half of them are fresh.
func seedOf(i, stories int) uint64 {
	if i < min(50, stories/2) {
		return uint64(i)
	}
	return fresh + uint64(i)
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ordinary is vipd as it is, and all that it promises to get over.
func ordinary() rules {
	return rules{
		// The last is a rolling change of the setting.
		leases: [][]time.Duration{{2 * time.Second}, {3 * time.Second}, {3 * time.Second}, {3 * time.Second}, {10 * time.Second}, {2 * time.Second, 3 * time.Second, 10 * time.Second}},
		drift:  1, kills: true, damage: true,
		// Tables forget an address half a minute after its last ticket: see
		// TestPauseThatOutlastsTheFence.
		pause: 25 * time.Second,
	}
}

// TestNodes plays stories of whole nodes, and nothing that is promised may break.
func TestNodes(t *testing.T) {
	events := playAll(t, *flagSeeds, ordinary())
	if missing := events.missing(*flagSeeds); len(missing) > 0 && *flagSeed < 0 {
		t.Errorf("hardly ever happened: %q", missing)
	}
}

// playAll plays that many stories, on all processors.
func playAll(t *testing.T, seeds int, r rules) census {
	t.Helper()
	if *flagSeed >= 0 {
		o := playWatched(t, uint64(*flagSeed), r)
		t.Logf("the story of seed %d:\n%s", o.seed, lines(o.notes))
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
	t.Logf("%d stories, %.0f a minute; in %s simulated: %s", seeds, float64(seeds)/time.Since(began).Minutes(), simulated.Round(time.Second), events)
	if moves := events[byRelease] + events[byExpiry]; moves < seeds {
		t.Errorf("the Lease changed hands %d times only", moves)
	}
	return events
}

// report tells what went wrong in a story, and how to see all of it.
func report(t *testing.T, o outcome) {
	t.Helper()
	if len(o.wrongs) > 0 {
		t.Errorf("seed %d:\n%s\nwhat came before:\n%s\nto see all of it:\n\tgo test ./internal/simulation -run '^%s$' -seed %d -v",
			o.seed, lines(o.wrongs), lines(o.before()), strings.SplitN(t.Name(), "/seeds", 2)[0], o.seed)
	}
}

// before is the end of the story up to what first went wrong.
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

// playWatched ends everything if a story takes so long that fake time must stand
// still: nothing inside a bubble would ever end it.
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

// TestSameSeed: the same story again, word for word, nearly always.
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
	t.Logf("%d of %d stories differ", differ, seeds)
	if differ == seeds {
		t.Error("each story was another one the second time")
	}
}

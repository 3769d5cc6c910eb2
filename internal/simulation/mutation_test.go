package simulation

import (
	"slices"
	"testing"
	"time"
)

// A mutation is an error in vipd, or a world that is worse than promised, made by
// putting something else into a seam. Each has to be caught within so many stories:
// else the simulation would not see the error, either, that it stands for.
const enough = 300

type mutation struct {
	name  string
	want  kind
	rules func() rules
	seam  func(*process, *seams)
}

var mutations = []mutation{
	{"released before withdrawn", twoAnswer, ordinary, releaseFirst},
	{"released before withdrawn, seen at once", earlyRelease, ordinary, releaseFirst},
	{"counts from the answer", lateSend, ordinary, fromTheAnswer},
	{"counts from the answer, process alone", twoAnswer, processAlone, fromTheAnswer},
	{"fence counts from the permit", twoAnswer, pausing, fenceFromPermit},
	{"fence lasts longer than the lease", lateEnd, ordinary, fenceLonger},
	{"fence not mended", lateEnd, often((*cluster).damaged), fenceNotMended},
	{"longer ticket not cut", twoAnswer, changing, fenceNotCut},
	{"own deadline not checked", twoAnswer, processAlone, noDeadline},
	{"no margin", twoAnswer, ordinary, func(_ *process, s *seams) { s.timing.Margin = 0 }},
	{"clocks beyond the margin", twoAnswer, drifting, nil},
	{"foreign holder ignored", ignored, ordinary, deaf},
	{"no compare and swap", twoAnswer, ordinary, careless},
	{"another's record released", overwritten, often((*cluster).stolen), careless},
	{"conflict taken for success", twoAnswer, ordinary, conflictIsSuccess},
	{"own lease waited for, not the record's", twoAnswer, changing, ownDuration},
	{"blank is free", twoAnswer, often((*cluster).blanked), blankIsFree},
	{"deleted is free", twoAnswer, often((*cluster).deleted), blankIsFree},
	{"blank is lost", needless, ordinary, blankIsFree},
	{"wall clocks believed", twoAnswer, ordinary, wallClockBelieved},
	{"term stays", staleTerm, ordinary, termStays},
	{"removal not confirmed", twoAnswer, ordinary, func(_ *process, s *seams) { s.network = unremoving{s.network} }},
	{"nothing given back", leftBehind, ordinary, func(_ *process, s *seams) { s.election = keeping{s.election} }},
	{"give-back not bounded", slowExit, often((*cluster).cutOff), func(_ *process, s *seams) { s.election = patient{s.election} }},
	{"reads once", stranded, ordinary, func(_ *process, s *seams) { s.store = &once{Store: s.store} }},
	{"announces unasked", staleFrame, ordinary, func(_ *process, s *seams) { s.mine = func() bool { return true } }},
}

func TestMutations(t *testing.T) {
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			r := m.rules()
			r.change = both(r.change, m.seam)
			seed := catch(t, r, m.want)
			if m.seam != nil && playWatched(t, seed, m.rules()).has(m.want) {
				t.Errorf("seed %d: %q without the mutation, too", seed, m.want)
			}
		})
	}
}

// TestEachPromiseIsMutated: a check that no error fails may check nothing.
func TestEachPromiseIsMutated(t *testing.T) {
	for _, k := range kinds {
		if !slices.ContainsFunc(mutations, func(m mutation) bool { return m.want == k }) {
			t.Errorf("no mutation for %q", k)
		}
	}
}

// catch plays stories until a promise is broken, and returns the seed.
func catch(t *testing.T, r rules, want kind) uint64 {
	t.Helper()
	if *flagSeed >= 0 {
		playAll(t, 1, r)
		return uint64(*flagSeed)
	}
	for seed := range uint64(enough) {
		if playWatched(t, seed, r).has(want) {
			t.Logf("%q with seed %d", want, seed)
			return seed
		}
	}
	t.Fatalf("%q was not seen in %d stories", want, enough)
	return 0
}

func both(a, b func(*process, *seams)) func(*process, *seams) {
	return func(p *process, s *seams) {
		for _, change := range []func(*process, *seams){a, b} {
			if change != nil {
				change(p, s)
			}
		}
	}
}

// Worlds for mutations.

// changing has leases of different lengths, and processes that often start anew with
// another one and stop then.
func changing() rules {
	r := lingering()
	r.leases = [][]time.Duration{{2 * time.Second, 10 * time.Second}}
	r.extra = func(c *cluster, n *node) bool {
		c.after(c.upTo(50*time.Millisecond), func() { c.revive(n) })
		c.after(100*time.Millisecond, func() { c.paused(n) })
		return c.killed(n)
	}
	return r
}

// pausing has processes stop just before a timer is set.
func pausing() rules {
	r := lingering()
	r.trip = before(drawArm, 20, func(c *cluster) time.Duration { return 2 * c.longest })
	return r
}

func drifting() rules {
	r := ordinary()
	r.drift = 3
	return r
}

func often(accident func(*cluster, *node) bool) func() rules {
	return func() rules {
		r := ordinary()
		r.extra = accident
		return r
	}
}

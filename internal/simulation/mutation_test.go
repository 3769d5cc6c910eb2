package simulation

import (
	"slices"
	"testing"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// A mutation is an error in vipd, or a worse environment than promised, made by replacing a
// dependency. Each mutation has to be detected within so many scenarios: otherwise, the simulation
// would not detect such an error of vipd either.
const maxScenarios = 600

type mutation struct {
	name   string
	want   kind
	rules  func() rules
	change func(*process, *dependencies)
}

var mutations = []mutation{
	{"Lease released before the withdrawal: two nodes answer", twoAnswer, ordinary, releaseFirst},
	{"Lease released before the withdrawal: early release", earlyRelease, ordinary, releaseFirst},
	{"lease counts from the answer", lateSend, ordinary, fromTheAnswer},
	{"lease counts from the answer, only the process ends the holding", twoAnswer, processAlone, fromTheAnswer},
	{"fence counts from the permit", twoAnswer, pausing, fenceFromPermit},
	{"fence lasts longer than the lease", lateEnd, ordinary, fenceLonger},
	{"damaged fence not repaired", lateEnd, often((*cluster).damaged), fenceNotRepaired},
	{"longer ticket not replaced by a shorter one", twoAnswer, changing, fenceNotCut},
	{"repair opens the fence", lateEnd, ordinary, repairOpens},
	{"repair opens the fence, only the fence ends the holding", twoAnswer, repairing, repairOpens},
	{"removal waits for the fence", lateEnd, besideAHungFence, removalWaits},
	{"own deadline not checked", twoAnswer, processAlone, noDeadline},
	{"no margin", twoAnswer, ordinary, func(_ *process, s *dependencies) { s.timing.Margin = 0 }},
	{"clocks slewed beyond the margin", twoAnswer, drifting, nil},
	{"no margin for a slewed clock", twoAnswer, ordinary, func(_ *process, s *dependencies) { s.timing.Margin = max(150*time.Millisecond, s.timing.Lease/100) }},
	{"candidate waits by the slewed clock only", twoAnswer, ordinary, func(_ *process, s *dependencies) { s.raw = func() boottime.Raw { return boottime.Raw(s.clock()) } }},
	{"suspend not noticed: answers", lateEnd, napping, clockStandsStill},
	{"suspend not noticed: refreshes", staleRefresh, napping, clockStandsStill},
	{"other holder ignored", ignored, ordinary, hideOtherHolder},
	{"write without compare-and-swap", twoAnswer, ordinary, overwrite},
	{"record of another node released", overwritten, often((*cluster).stolen), overwrite},
	{"conflict treated as success", twoAnswer, ordinary, conflictIsSuccess},
	{"candidate waits for its own duration, not for the record's", twoAnswer, changing, ownDuration},
	{"blanked Lease claimed at once", twoAnswer, often((*cluster).blanked), blankIsFree},
	{"deleted Lease claimed at once", twoAnswer, often((*cluster).deleted), blankIsFree},
	{"history believed after a compaction", twoAnswer, often((*cluster).forgotten), beginningInvented},
	{"Lease without a holder believed to be the first version", twoAnswer, often((*cluster).forgotten), alwaysFirst},
	{"blanked Lease ends the holding", needless, ordinary, blankIsFree},
	{"decision by the wall clock", twoAnswer, ordinary, wallClockBelieved},
	{"claim without a higher term", staleTerm, ordinary, termStays},
	{"Lease released although the route stays", earlyRelease, ordinary, func(_ *process, s *dependencies) { s.network = skipDivert{s.network} }},
	{"removal not confirmed", twoAnswer, ordinary, func(_ *process, s *dependencies) { s.network = skipRemove{s.network} }},
	{"copies of other programs removed", touched, often((*cluster).copied), func(p *process, s *dependencies) { s.network = removeCopies{network{p}} }},
	{"Lease never released", leftBehind, ordinary, func(_ *process, s *dependencies) { s.election = neverReleasing{s.election} }},
	{"release without a timeout", slowExit, often((*cluster).cutOff), func(_ *process, s *dependencies) { s.election = unboundedRelease{s.election} }},
	{"Lease read only once", stranded, ordinary, func(_ *process, s *dependencies) { s.store = &once{Store: s.store} }},
	{"ends without the next holder", dark, ordinary, func(p *process, s *dependencies) { s.end = func() { p.stop() } }},
	{"acceptance not kept", dark, ordinary, pledgeForgotten},
	{"announces without asking for permission", staleFrame, ordinary, func(_ *process, s *dependencies) { s.mine = func() bool { return true } }},
}

func TestMutations(t *testing.T) {
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			r := m.rules()
			r.change = both(r.change, m.change)
			seed := catch(t, r, m.want)
			if m.change != nil && playWatched(t, seed, m.rules()).has(m.want) {
				t.Errorf("seed %d: %q without the mutation, too", seed, m.want)
			}
		})
	}
}

// TestEachPromiseIsMutated: a check that never fails may check nothing.
func TestEachPromiseIsMutated(t *testing.T) {
	for _, k := range kinds {
		if !slices.ContainsFunc(mutations, func(m mutation) bool { return m.want == k }) {
			t.Errorf("no mutation for %q", k)
		}
	}
}

// catch plays scenarios until a promise is broken, and returns the seed.
func catch(t *testing.T, r rules, want kind) uint64 {
	t.Helper()
	if raced {
		t.Skip("what nodes do is played without the race detector")
	}
	if *flagSeed >= 0 {
		playAll(t, 1, r)
		return uint64(*flagSeed)
	}
	for seed := range uint64(maxScenarios) {
		if playWatched(t, seed, r).has(want) {
			t.Logf("%q with seed %d", want, seed)
			return seed
		}
	}
	t.Fatalf("%q was not seen in %d scenarios", want, maxScenarios)
	return 0
}

func both(a, b func(*process, *dependencies)) func(*process, *dependencies) {
	return func(p *process, s *dependencies) {
		for _, change := range []func(*process, *dependencies){a, b} {
			if change != nil {
				change(p, s)
			}
		}
	}
}

// Rules for mutations.

// changing has leases of different durations, and processes that often restart with another
// duration and then stop.
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

// pausing stops processes just before a timer is set.
func pausing() rules {
	r := lingering()
	r.trip = before(drawArm, 20, func(c *cluster) time.Duration { return 2 * c.longest })
	return r
}

// repairing stops processes between the transactions of a repair.
func repairing() rules {
	r := lingering()
	r.trip = before(drawRepair, 3, func(c *cluster) time.Duration { return 2 * c.longest })
	return r
}

func drifting() rules {
	r := lingering()
	r.drift = 2
	return r
}

func often(accident func(*cluster, *node) bool) func() rules {
	return func() rules {
		r := ordinary()
		r.extra = accident
		return r
	}
}

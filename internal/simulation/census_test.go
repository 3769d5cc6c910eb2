package simulation

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
)

// census counts the events of a run by name: a run without them proves nothing.
type census map[string]int

func (c *cluster) count(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events[what]++
}

func (e census) add(more census) {
	for what, n := range more {
		e[what] += n
	}
}

func (e census) String() string {
	var out []string
	for _, what := range slices.Sorted(maps.Keys(e)) {
		out = append(out, fmt.Sprintf("%s %d", what, e[what]))
	}
	return strings.Join(out, ", ")
}

// Ways in which the Lease changes hands.
const (
	byRelease = "taken after a release"
	byExpiry  = "taken after an expiry"
	byBlank   = "taken after a blank"
)

// expected returns the events that have to occur in a run of ordinary scenarios.
func expected() []string {
	all := []string{byRelease, byExpiry, byBlank, "paused at a call", "kernel call fails", "kernel call hangs", "request late", "answer late", "answer lost", "request refused",
		"one request hangs", "watch is behind", "candidates appear while the holder cannot write", "restarted everywhere"}
	for _, k := range accidentKinds {
		all = append(all, k.name)
	}
	for _, h := range harmless {
		all = append(all, h.name)
	}
	return all
}

// counted tells whether there are enough scenarios to check the census. The rarest event occurs in
// one of ten scenarios, which means 20 times in 200. Fewer than 4 times, the limit of missing, then
// has a probability of 1/100000; with 80 scenarios, one run in a thousand had none.
func counted() bool { return *flagSeed < 0 && *flagSeeds >= 200 }

// missing returns the events that occurred in less than one of `rare` scenarios.
func (e census) missing(scenarios int) (what []string) {
	const rare = 50
	for _, w := range expected() {
		if e[w] < scenarios/rare {
			what = append(what, w)
		}
	}
	return what
}

// takings counts how the Lease changed hands.
func (e census) takings(history []*coordinationv1.Lease) {
	holder, how := "", byBlank
	for _, l := range history {
		switch {
		case l == nil:
			how = byBlank
		case holderOf(l) == "" && noteOf(l).Released:
			holder, how = "", byRelease
		case holderOf(l) == "":
			how = byBlank
		default:
			if holderOf(l) != holder {
				e[how]++
			}
			holder, how = holderOf(l), byExpiry
		}
	}
}

package simulation

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
)

// census counts what happened, by name: a run in which nothing did proves nothing.
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

// How the Lease may change hands.
const (
	byRelease = "taken after a release"
	byExpiry  = "taken after an expiry"
	byBlank   = "taken after a blank"
)

// expected is what has to happen in a run of ordinary stories.
func expected() []string {
	all := []string{byRelease, byExpiry, byBlank, "paused at a call", "kernel call fails", "request late", "answer late", "answer lost", "request refused"}
	for _, k := range accidentKinds {
		all = append(all, k.name)
	}
	for _, h := range harmless {
		all = append(all, h.name)
	}
	return all
}

// missing names what happened less than once in so many stories.
func (e census) missing(stories int) (what []string) {
	const rare = 50
	for _, w := range expected() {
		if e[w] < stories/rare {
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

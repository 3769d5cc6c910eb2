package main

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/vipd-io/vipd/pkg/status"
)

// told is a change, and the node that tells of it.
type told struct {
	node string
	status.Change
}

// merged are the last n changes of all nodes, the newest last, by their clocks.
func merged(all []answer, n int) []told {
	var out []told
	for _, a := range all {
		for _, c := range slices.Backward(a.History.Changes) {
			out = append(out, told{a.Node, c})
		}
	}
	slices.SortStableFunc(out, func(a, b told) int { return a.Time.Compare(b.Time) })
	return out[max(0, len(out)-n):]
}

// renderHistory shows changes as a log does, each with its phases. The nodes are
// named if there may be several.
func renderHistory(changes []told, named bool, width int, colour bool) string {
	p := &page{width: width, colour: colour}
	if len(changes) == 0 {
		p.line(word{"no changes since vipd was started", plain})
	}
	for _, c := range changes {
		words := []word{{c.Time.UTC().Format("2006-01-02 15:04:05.000Z  "), bold}}
		if named {
			words = append(words, word{c.node + "  ", bold})
		}
		took := ""
		if c.Seconds > 0 {
			took = ", " + seconds(c.Seconds)
		}
		p.line(append(words, word{string(c.Kind), kindStyle(c.Kind)},
			word{fmt.Sprintf("  holder %s, term %d%s", cmp.Or(c.Holder, "nobody"), c.Term, took), plain})...)
		for _, l := range wrap(c.Cause, p.width-4) {
			p.line(word{"    " + l, plain})
		}
		for _, s := range c.Phases {
			p.line(word{fmt.Sprintf("    %+10.1f ms  ", s.AfterMS), dim}, word{s.What, plain})
		}
	}
	return p.b.String()
}

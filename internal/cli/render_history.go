package cli

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/vipd-io/vipd/internal/ask"
	"github.com/vipd-io/vipd/internal/status"
)

// nodeChange is a change, and the node that reported it.
type nodeChange struct {
	node string
	status.Change
}

// mergeHistories returns the last n changes of all nodes, the newest last, by the nodes' clocks.
func mergeHistories(all []ask.Answer, n int) []nodeChange {
	var out []nodeChange
	for _, a := range all {
		for _, c := range slices.Backward(a.History.Changes) {
			out = append(out, nodeChange{a.Node, c})
		}
	}
	slices.SortStableFunc(out, func(a, b nodeChange) int { return a.Time.Compare(b.Time) })
	return out[max(0, len(out)-n):]
}

// renderHistory renders changes as a log, each with its phases, and with node names for several
// nodes.
func renderHistory(changes []nodeChange, named bool, width int, colour bool) string {
	p := &page{width: width, colour: colour}
	if len(changes) == 0 {
		p.paragraph("", 0, plain, "no changes since the start of vipd")
	}
	for _, c := range changes {
		when, took := c.Time.UTC().Format("2006-01-02 15:04:05.000Z  "), ""
		if named {
			when += c.node + "  "
		}
		if c.Seconds > 0 {
			took = ", " + formatSeconds(c.Seconds)
		}
		head := p.paint(text.Bold, when) + p.paint(kindColour(c.Kind), string(c.Kind)) + "  "
		p.paragraph(head, text.StringWidthWithoutEscSequences(head), plain, fmt.Sprintf("holder %s, term %d%s", cmp.Or(c.Holder, "nobody"), c.Term, took))
		p.paragraph("", 4, plain, c.Cause)
		for _, s := range c.Phases {
			after := fmt.Sprintf("    %+10.1f ms  ", s.AfterMS)
			p.paragraph(p.paint(text.Faint, after), len(after), plain, s.What)
		}
	}
	return p.b.String()
}

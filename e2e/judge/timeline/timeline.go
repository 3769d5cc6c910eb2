// Package timeline draws an episode as an HTML page, to show why a rule was broken. All records are
// on one axis of time, with the fault at 0.
package timeline

import (
	"cmp"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"

	_ "embed"

	"github.com/vipd-io/vipd/e2e/judge/analyse"
	"github.com/vipd-io/vipd/e2e/judge/record"
)

//go:embed timeline.html.tmpl
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// A page is the data of the template.
type page struct {
	Episode  record.Episode
	Promised string
	Verdict  verdict
	Figures  []figure
	Charts   []chart
	Log      []row
	LeftOut  []string
}

// Write writes the page. The verdict is the result of analyse.Judge, or empty. The page is
// self-contained, and the same for the same episode.
func Write(w io.Writer, e record.Episode, v analyse.Verdict) error {
	violations := slices.SortedStableFunc(slices.Values(v.Violations), func(a, b analyse.Violation) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Rule, b.Rule), strings.Compare(a.Why, b.Why))
	})
	p := page{Episode: e, Promised: promised(e.Promise), Verdict: verdictOf(e, violations, v.Unproven), Figures: figures(e)}
	if len(v.Gaps) > 0 {
		p.Figures = append(p.Figures, figure{"Not observed", milliseconds(v.Blind()), analyse.Sum(v.Gaps)})
	}
	d := drawing{Episode: e, violations: violations, gaps: v.Gaps}
	whole := view{from: e.At, to: e.End, zero: e.At}.around(e.History)
	p.Charts = append(p.Charts, d.chart("Overview", whole))
	for _, m := range moments(e, violations) {
		p.Charts = append(p.Charts, d.chart(fmt.Sprintf("Close-up at %s: %s", whole.rel(m.at), m.why), view{from: m.at.Add(-closeUp), to: m.at.Add(closeUp), zero: e.At}))
	}
	p.Log, p.LeftOut = d.log(whole)
	if err := pageTemplate.Execute(w, p); err != nil {
		return fmt.Errorf("write timeline: %w", err)
	}
	return nil
}

// A close-up shows single probes before and after a moment. The number of close-ups is limited.
const (
	closeUp  = 150 * time.Millisecond
	closeUps = 3
)

type moment struct {
	at  record.Time
	why string
}

// moments returns the moments to show in a close-up: those of violations or, without any, the
// moment at which another node got the address. A violation of the whole episode has the time of
// its beginning or end, where there is nothing to see.
func moments(e record.Episode, violations []analyse.Violation) (out []moment) {
	for _, v := range violations {
		near := len(out) > 0 && v.At.Sub(out[len(out)-1].at) < 2*closeUp
		if len(out) < closeUps && !near && v.At != e.At && v.At != e.End {
			out = append(out, moment{v.At, string(v.Rule)})
		}
	}
	for _, a := range e.History.Addresses {
		if len(out) == 0 && a.Added && a.At >= e.At && a.Node != e.Holder {
			out = append(out, moment{a.At, a.Node + " gets the address"})
		}
	}
	return out
}

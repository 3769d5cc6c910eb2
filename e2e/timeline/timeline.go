// Package timeline draws an episode as one HTML page, for whoever wants to see why
// it broke a rule. All that was seen is on one axis of time, on which the fault is 0.
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

	"github.com/vipd-io/vipd/e2e/analyse"
	"github.com/vipd-io/vipd/e2e/record"
)

//go:embed timeline.html.tmpl
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// A page is what the template shows.
type page struct {
	Episode  record.Episode
	Promised string
	Verdict  verdict
	Figures  []figure
	Charts   []chart
	Log      []row
	LeftOut  []string
}

// Write writes the page. The violations are those that analyse.Judge found, if any.
// The page needs nothing from elsewhere, and is the same for the same episode.
func Write(w io.Writer, e record.Episode, violations []analyse.Violation) error {
	violations = slices.SortedStableFunc(slices.Values(violations), func(a, b analyse.Violation) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Rule, b.Rule), strings.Compare(a.Why, b.Why))
	})
	p := page{Episode: e, Promised: promised(e.Promise), Verdict: judged(e, violations), Figures: figures(e)}
	d := drawing{Episode: e, violations: violations}
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

// A close-up shows single probes, on both sides of a moment. There are few of them.
const (
	closeUp  = 150 * time.Millisecond
	closeUps = 3
)

type moment struct {
	at  record.Time
	why string
}

// moments are worth a close-up: those of violations or, if there are none, that in
// which another node got the address. A violation that is about the whole of the
// episode bears the time of its begin or end, where there is nothing to see.
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

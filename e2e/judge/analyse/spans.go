package analyse

import (
	"cmp"
	"slices"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
)

// A Sign is a repeated sign of something that lasts.
type Sign struct {
	Who string
	At  record.Time
}

// A Span is a time of signs without a gap.
type Span struct {
	Who      string
	From, To record.Time
}

// Spans joins the signs in the window to spans, ordered by their beginning. A gap longer than the
// given one ends a span.
func Spans(signs []Sign, from, to record.Time, gap time.Duration) []Span {
	signs = slices.SortedStableFunc(slices.Values(signs), func(a, b Sign) int { return cmp.Compare(a.At, b.At) })
	var spans []Span
	latest := make(map[string]int) // index of the last span of each Who
	for _, s := range signs {
		if s.At < from || s.At > to {
			continue
		}
		if i, ok := latest[s.Who]; ok && s.At.Sub(spans[i].To) <= gap {
			spans[i].To = s.At
			continue
		}
		latest[s.Who] = len(spans)
		spans = append(spans, Span{Who: s.Who, From: s.At, To: s.At})
	}
	return spans
}

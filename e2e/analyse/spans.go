package analyse

import (
	"cmp"
	"slices"
	"time"

	"github.com/vipd-io/vipd/e2e/record"
)

// A Sign is one of those that somebody gives as long as something goes on.
type Sign struct {
	Who string
	At  record.Time
}

// A Span is a time in which somebody gave signs without a gap.
type Span struct {
	Who      string
	From, To record.Time
}

// Spans joins the signs in the window to spans, in the order in which they began.
// A gap longer than that given ends one.
func Spans(signs []Sign, from, to record.Time, gap time.Duration) []Span {
	signs = slices.SortedStableFunc(slices.Values(signs), func(a, b Sign) int { return cmp.Compare(a.At, b.At) })
	var spans []Span
	latest := make(map[string]int) // index of each one's last span
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

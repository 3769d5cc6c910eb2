package timeline

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/analyse"
	"github.com/vipd-io/vipd/e2e/judge/record"
)

// A verdict is the verdict as text.
type verdict struct {
	OK      bool
	Summary string
	Rules   []broken
}

// A broken rule, with its first violations.
type broken struct {
	Rule  analyse.Rule
	Cases []found
	Left  string // summary of the omitted ones
}

type found struct{ At, Why string }

// cases bounds the violations of one rule that are listed.
const cases = 3

func verdictOf(e record.Episode, violations []analyse.Violation, unproven string) verdict {
	v := view{zero: e.At}
	var out verdict
	left := make(map[analyse.Rule][]analyse.Violation)
	for _, f := range violations {
		i := slices.IndexFunc(out.Rules, func(b broken) bool { return b.Rule == f.Rule })
		if i < 0 {
			i = len(out.Rules)
			out.Rules = append(out.Rules, broken{Rule: f.Rule})
		}
		if b := &out.Rules[i]; len(b.Cases) < cases {
			b.Cases = append(b.Cases, found{v.rel(f.At), shorten(f.Why, 2000)})
		} else {
			left[f.Rule] = append(left[f.Rule], f)
		}
	}
	for i := range out.Rules {
		if more := left[out.Rules[i].Rule]; len(more) > 0 {
			out.Rules[i].Left = fmt.Sprintf("and %d more, the last at %s", len(more), v.rel(more[len(more)-1].At))
		}
	}
	switch {
	case len(out.Rules) == 1:
		out.Summary = "One rule was broken"
	case len(out.Rules) > 1:
		out.Summary = fmt.Sprintf("%d rules were broken", len(out.Rules))
	case unproven != "":
		out.Summary = "Nothing is proven"
	default:
		out.Summary, out.OK = "No rule was broken", true
	}
	if unproven != "" {
		out.Summary += ", and the record does not suffice: " + unproven
	}
	return out
}

// promised returns the promise as text.
func promised(p record.Promise) string {
	var words []string
	say := func(when bool, format string, args ...any) {
		if when {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	say(p.Moves, "another node takes the VIP")
	say(p.MayMove, "the VIP may move")
	say(p.Stays(), "the VIP stays on its node")
	say(p.Flickers, "with a short interruption")
	say(p.MayFail, "requests may fail for other reasons")
	say(p.Stays() && !p.Flickers && !p.MayFail, "no request fails")
	say(p.EndsIdle, "idle connections are ended, so that clients notice")
	say(p.Deafens, "clients may miss announcements")
	say(p.Within > 0, "unreachable for at most %v", p.Within)
	say(p.AtLeast > 0, "unreachable for at least %v, because another holder's lease is respected", p.AtLeast)
	return strings.Join(words, "; ")
}

// A figure is a value at the top of the page.
type figure struct{ Name, Value, Note string }

func figures(e record.Episode) []figure {
	m := analyse.Measure(e)
	out := []figure{
		{"Holder", orNone(e.Holder) + " → " + orNone(e.Next), ""},
		{"Longest unreachable", milliseconds(m.Unreachable), ""},
		{"Failed requests", fmt.Sprint(m.Failed), fmt.Sprintf("of %d", during(e))},
		{"ARP answers", counts(m.Answered), "during the fault"},
	}
	if e.Wanted != "" {
		out[0].Note = "wanted: " + e.Wanted
	}
	if e.EtcdLeader {
		out = append(out, figure{"etcd leader", orNone(e.Holder), "before the fault"})
	}
	if m.StrangerAnswered > 0 {
		out[3].Note = fmt.Sprintf("strangers: %d", m.StrangerAnswered)
	}
	if m.Moved {
		out = append(out, figure{"Announced", milliseconds(m.Announced), "after the address was up"})
	}
	if m.IdleNoticed > 0 {
		note := "never found the VIP again"
		if m.IdleDone > 0 {
			note = "at the VIP again after " + milliseconds(m.IdleDone)
		}
		out = append(out, figure{"Idle client noticed", milliseconds(m.IdleNoticed), note})
	}
	return out
}

// during returns how many requests started and ended during the fault.
func during(e record.Episode) (n int) {
	for _, r := range e.History.Requests {
		if r.Start >= e.At && r.End <= e.End {
			n++
		}
	}
	return n
}

func counts(by map[string]int) string {
	var words []string
	for _, who := range slices.Sorted(maps.Keys(by)) {
		words = append(words, fmt.Sprintf("%s %d", who, by[who]))
	}
	return orNone(strings.Join(words, ", "))
}

func milliseconds(d time.Duration) string { return d.Round(time.Millisecond).String() }

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// shorten truncates a text to n characters.
func shorten(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

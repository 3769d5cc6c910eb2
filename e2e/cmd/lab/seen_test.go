package main

import (
	"slices"
	"testing"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/judge/analyse"
)

// TestSee: a demo fails for a broken promise, and not for the effects of a busy machine.
func TestSee(t *testing.T) {
	for _, c := range []struct {
		name         string
		rules        []analyse.Rule
		unproven     string
		broken, late int
	}{
		{"as expected", nil, "", 0, 0},
		{"late", []analyse.Rule{analyse.Reachable}, "", 0, 1},
		{"two answer", []analyse.Rule{analyse.AtMostOne}, "", 1, 0},
		{"two accept", []analyse.Rule{analyse.AcceptsAlone}, "", 1, 0},
		{"left behind", []analyse.Rule{analyse.Foreign}, "", 1, 0},
		{"too thin", nil, "288 probes in 1.95 s", 0, 0},
		{"too thin, and two answer", []analyse.Rule{analyse.AtMostOne}, "288 probes in 1.95 s", 1, 0},
		{"too thin, and nobody took it", []analyse.Rule{analyse.Goes}, "288 probes in 1.95 s", 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var o failover.Outcome
			o.Unproven = c.unproven
			for _, r := range c.rules {
				o.Violations = append(o.Violations, analyse.Violation{Rule: r, Why: "it"})
			}
			if got := see(o); len(got.broken) != c.broken || len(got.late) != c.late {
				t.Errorf("broken %q, late %q; want %d and %d", got.broken, got.late, c.broken, c.late)
			}
		})
	}
	for _, r := range promises {
		if !slices.Contains(analyse.Rules, r) {
			t.Errorf("there is no rule %q", r)
		}
	}
}

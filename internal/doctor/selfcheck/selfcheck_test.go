package selfcheck

import (
	"strings"
	"testing"
)

// TestSchedule: the checks run at the start, one poll after problems begin or end, and
// periodically while there are problems or findings.
func TestSchedule(t *testing.T) {
	for _, test := range []struct {
		name, polls string // per poll: "." without problems, "!" with problems
		findings    bool
		want        string // "x" where the checks run
	}{
		{"no problems", "................", false, "x..............."},
		{"a persistent finding", "................", true, "x....x....x....x"},
		{"problems", "...!!!!!!!!!!!..", false, "x...x....x.....x"},
		{"a short problem", "...!......", false, "x....x...."},
		{"alternating", "...!.!.!.!...", false, "x....x.....x."},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := schedule{findings: test.findings}
			var got strings.Builder
			for _, poll := range test.polls {
				got.WriteByte(map[bool]byte{true: 'x', false: '.'}[s.due(poll == '!')])
			}
			if got.String() != test.want {
				t.Errorf("%s: checks at %s, want %s", test.polls, got.String(), test.want)
			}
		})
	}
}

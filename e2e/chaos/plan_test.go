package chaos

import (
	"slices"
	"strings"
	"testing"

	"github.com/vipd-io/vipd/e2e/failover"
)

func names(round []failover.Fault) (out []string) {
	for _, f := range round {
		out = append(out, f.Title)
	}
	return out
}

// The same seed gives the same faults, another seed or another round others.
func TestRoundDependsOnTheSeed(t *testing.T) {
	first := Round(1, 0)
	again := Round(1, 0)
	if !slices.Equal(names(first), names(again)) {
		t.Error("one seed, two plans")
	}
	for i := range first {
		if first[i].Seed != again[i].Seed {
			t.Errorf("%s: seed %d, then %d", first[i].Name, first[i].Seed, again[i].Seed)
		}
	}
	for _, other := range [][]failover.Fault{Round(2, 0), Round(1, 1)} {
		if slices.Equal(names(first), names(other)) {
			t.Error("two seeds or rounds, one plan")
		}
	}
}

// A round has every fault once, and pairs that can happen together.
func TestRoundIsWhole(t *testing.T) {
	for seed := range uint64(200) {
		round := names(Round(seed, 0))
		for _, f := range failover.Faults {
			if !slices.Contains(round, f.Title) {
				t.Fatalf("seed %d: no %s", seed, f.Name)
			}
		}
		pairs := 0
		for _, f := range Round(seed, 0) {
			if f.Faults == 2 && strings.Count(f.Name, "+") == 1 && f.MayMove {
				pairs++
			}
		}
		if pairs != compounds || len(round) != 1+len(failover.Faults)+compounds {
			t.Fatalf("seed %d: %d runs, %d pairs", seed, len(round), pairs)
		}
	}
}

// A fault that needs something does not happen beside one that breaks it.
func TestCompatible(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"sigkill", "apikill", true}, {"sigkill", "addrdel", true}, {"leaseblank", "sigstop", true}, {"apislow", "cutstore", true},
		{"sigkill", "sigterm", false}, {"sigkill", "sigkill", false}, {"poweroff", "addrdel", false}, {"apislow", "sigkill", false},
		{"move", "sigkill", false}, {"etcdown", "cutstore", false}, {"leasedeleted", "quorum", false}, {"namesake", "conflict", false},
	} {
		a, err := failover.ByName(tt.a)
		must(t, err)
		b, err := failover.ByName(tt.b)
		must(t, err)
		if got := failover.Compatible(a, b); got != tt.want || failover.Compatible(b, a) != tt.want {
			t.Errorf("%s and %s: %t, want %t", tt.a, tt.b, got, tt.want)
		}
	}
}

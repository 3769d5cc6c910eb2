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

// The same seed gives the same faults; another seed or another round gives others.
func TestRoundDependsOnTheSeed(t *testing.T) {
	first := Round(failover.Faults, 1, 0)
	again := Round(failover.Faults, 1, 0)
	if !slices.Equal(names(first), names(again)) {
		t.Error("one seed, two plans")
	}
	for i := range first {
		if first[i].Seed != again[i].Seed {
			t.Errorf("%s: seed %d, then %d", first[i].Name, first[i].Seed, again[i].Seed)
		}
	}
	for _, other := range [][]failover.Fault{Round(failover.Faults, 2, 0), Round(failover.Faults, 1, 1)} {
		if slices.Equal(names(first), names(other)) {
			t.Error("two seeds or rounds, one plan")
		}
	}
}

// A round has every fault once, and pairs that are possible together.
func TestRoundIsWhole(t *testing.T) {
	for seed := range uint64(200) {
		round := names(Round(failover.Faults, seed, 0))
		for _, f := range failover.Faults {
			if !slices.Contains(round, f.Title) {
				t.Fatalf("seed %d: no %s", seed, f.Name)
			}
		}
		pairs := 0
		for _, f := range Round(failover.Faults, seed, 0) {
			if f.Faults == 2 && strings.Count(f.Name, "+") == 1 && f.MayMove {
				pairs++
			}
		}
		if pairs != compounds || len(round) != 1+len(failover.Faults)+compounds {
			t.Fatalf("seed %d: %d runs, %d pairs", seed, len(round), pairs)
		}
	}
}

func TestUnknownFault(t *testing.T) {
	must(t, known(failover.Faults, []string{"sigkill", "none", "sigkill+apikill", "latekill"}))
	for _, name := range []string{"latekill", "snapshoot"} {
		if err := known(failover.OfKubelets(), []string{"sigkill", name}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, want an error", name, err)
		}
	}
}

// A round with fewer faults has only these faults in its pairs.
func TestRoundOfKubelets(t *testing.T) {
	for seed := range uint64(200) {
		round := Round(failover.OfKubelets(), seed, 0)
		if len(round) != 1+len(failover.OfKubelets())+compounds {
			t.Fatalf("seed %d: %d runs", seed, len(round))
		}
		for _, f := range round {
			if f.Plain {
				t.Errorf("seed %d: %s is for plain nodes", seed, f.Name)
			}
		}
	}
}

// Each fault is part of a pair, except faults that any other fault disturbs, as their subjects
// show.
func TestEachFaultIsPaired(t *testing.T) {
	paired := make(map[string]bool)
	for seed := range uint64(500) {
		for _, f := range Round(failover.Faults, seed, 0) {
			if first, second, pair := strings.Cut(f.Name, "+"); pair {
				paired[first], paired[second] = true, true
			}
		}
	}
	for _, f := range failover.Faults {
		if alone := slices.Contains([]string{"longer", "nftbusy", "copies"}, f.Name); paired[f.Name] == alone {
			t.Errorf("%s: paired %t", f.Name, paired[f.Name])
		}
	}
}

// A fault that needs a part does not run beside a fault that breaks that part.
func TestCompatible(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"sigkill", "apikill", true}, {"sigkill", "addrdel", true}, {"leaseblank", "sigstop", true}, {"apislow", "cutstore", true},
		{"sigkill", "sigterm", false}, {"sigkill", "sigkill", false}, {"poweroff", "addrdel", true}, {"apislow", "sigkill", false},
		{"linkdown", "sigkill", true}, {"linkdown", "apikill", false}, {"rolling", "etcdmember", true}, {"latekill", "addrdel", true}, {"latekill", "addrflush", false},
		{"flushkill", "nftflush", false}, {"nftflush", "sigkill", false}, {"watchstall", "nftflush", false}, {"shorter", "leasedeleted", false}, {"coldstart", "relink", true}, {"longer", "apikill", false},
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

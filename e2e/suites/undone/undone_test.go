package undone

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/judge/analyse"
	"github.com/vipd-io/vipd/e2e/lab"
)

var (
	flagUndone = flag.String("undone", "3", "how many mutations to try in TestUndone, or all")
	flagSeed   = flag.Uint64("seed", 0, "which those are; 0 is for others in each run")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestUndone runs a mutated vipd on all nodes of a lab, injects a fault, and expects the fault to
// break the rule. Package chaos tests the same fault with the real vipd.
func TestUndone(t *testing.T) {
	list, err := draw(*flagUndone, *flagSeed, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	err = lab.With(t.Context(), failover.LabOptions, func(l *lab.Lab) error {
		for _, m := range list {
			t.Run(m.name, func(t *testing.T) {
				binary := m.build(t)
				defer restore(t, l)
				defer saveLogs(t, l)
				l.UseVipd(binary)
				if err := failover.Start(l); err != nil {
					t.Fatal(err)
				}
				catch(t, l, m)
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// draw returns that many of the mutations at random, or all of them in order.
func draw(count string, seed uint64, say func(string, ...any)) ([]mutation, error) {
	if count == "all" {
		return mutations, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > len(mutations) {
		return nil, errors.New("-undone: want a number of mutations, or all")
	}
	if seed == 0 {
		seed = uint64(time.Now().UnixMicro())
	}
	say("again with -undone %d -seed %d", n, seed)
	list := slices.Clone(mutations)
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list[:n], nil
}

// tries is the maximum number of tries until a fault reveals a mutation. One try is enough for
// nearly all.
const tries = 3

// catch repeats the fault until the fault breaks the rule.
func catch(t *testing.T, l *lab.Lab, m mutation) {
	t.Helper()
	f, err := failover.ByName(m.fault)
	if err != nil {
		t.Fatal(err)
	}
	for i := range tries {
		f.Seed = uint64(i)
		out, err := failover.Run(t.Context(), l, f, t.Logf)
		if err != nil {
			t.Logf("with %q undone: %v", m.name, err)
			continue
		}
		if tell(t, out.Violations)[m.rule] > 0 {
			return
		}
	}
	t.Errorf("mutation %q not detected: the fault %s never broke the rule %q", m.name, m.fault, m.rule)
}

// tell logs the first violation of each rule and returns the number of violations.
func tell(t *testing.T, list []analyse.Violation) map[analyse.Rule]int {
	t.Helper()
	count := make(map[analyse.Rule]int)
	for _, v := range list {
		if count[v.Rule]++; count[v.Rule] == 1 {
			t.Log(v)
		}
	}
	t.Logf("broken: %v", count)
	return count
}

// saveLogs keeps the logs of a failed test.
func saveLogs(t *testing.T, l *lab.Lab) {
	t.Helper()
	if !t.Failed() {
		return
	}
	dir := filepath.Join(os.TempDir(), "vipd-lab-logs")
	t.Logf("the lab's logs are in %s", dir)
	if err := l.SaveLogs(dir); err != nil {
		t.Error(err)
	}
}

// restore ends all vipds and removes what a mutated vipd may have left.
func restore(t *testing.T, l *lab.Lab) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	for _, n := range l.Nodes {
		if n.Vipd.Running() {
			// A vipd that does not end is killed; that is expected.
			if _, err := lab.StopNow(n.Vipd, 3*time.Second); err != nil {
				t.Log(err)
			}
		}
	}
	for _, n := range l.Nodes {
		if err := errors.Join(n.Forget(), n.RestoreForeign(ctx)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMutationsFit: each mutation matches the present code of vipd and compiles, and its fault
// exists.
func TestMutationsFit(t *testing.T) {
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel() // go build uses mostly one thread here
			if _, err := failover.ByName(m.fault); err != nil {
				t.Error(err)
			}
			m.compile(t, slices.Concat([]string{"-o", "/dev/null"}, m.packages())...)
		})
	}
}

// TestEachRuleIsBroken: a rule that no mutation breaks may detect nothing.
func TestEachRuleIsBroken(t *testing.T) {
	for _, r := range analyse.Rules {
		if !slices.ContainsFunc(mutations, func(m mutation) bool { return m.rule == r }) {
			t.Errorf("no mutation for %q", r)
		}
	}
}

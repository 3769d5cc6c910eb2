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

// TestUndone runs a mutated vipd on all nodes of a lab, and the fault that is to
// show it breaks the rule. What the same fault comes to with vipd as it is,
// package chaos tests.
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

// draw picks so many of the mutations, or all of them in their order.
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

// tries is how often a fault may take place until it shows a mutation. One is
// enough for nearly all.
const tries = 3

// catch tries the fault until it breaks the rule.
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

// tell logs the first violation of each rule and returns how many there were.
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

// saveLogs keeps the logs of what did not come out as it should.
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

// restore ends all vipds and takes away what a broken one may have left.
func restore(t *testing.T, l *lab.Lab) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	for _, n := range l.Nodes {
		if n.Vipd.Running() {
			// One that does not end is killed, and is no surprise.
			if _, err := n.Vipd.Stop(3 * time.Second); err != nil {
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

// TestMutationsFit: each is a change of vipd as it is now, which compiles, and its
// fault is there.
func TestMutationsFit(t *testing.T) {
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel() // go build is mostly one thread here
			if _, err := failover.ByName(m.fault); err != nil {
				t.Error(err)
			}
			m.compile(t, slices.Concat([]string{"-o", "/dev/null"}, m.packages())...)
		})
	}
}

// TestEachRuleIsBroken: a rule that nothing breaks may see nothing.
func TestEachRuleIsBroken(t *testing.T) {
	for _, r := range analyse.Rules {
		if !slices.ContainsFunc(mutations, func(m mutation) bool { return m.rule == r }) {
			t.Errorf("no mutation for %q", r)
		}
	}
}

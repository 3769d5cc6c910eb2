package chaos

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/labtest"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

var flagSeed = flag.Uint64("seed", 0, "seed of the faults, 0 for another one each time")

// shared is a lab with vipd on all nodes; each test leaves the lab in this state.
var shared *lab.Lab

func TestMain(m *testing.M) { labtest.Main(m, &shared) }

var must = labtest.Must

// logger writes to the log of a test.
type logger struct{ t *testing.T }

func (l logger) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimRight(string(b), "\n"))
	return len(b), nil
}

// enough is the number of faults in one run of the tests; a round has 70. The seed draws others each
// time, and `make nightly` injects all of them.
const enough = 24

// TestChaos is a third of a round: faults, and some pairs. Reports of failures are kept, and each
// report can be judged again with the same verdict.
func TestChaos(t *testing.T) {
	seed := *flagSeed
	if seed == 0 {
		seed = NewSeed()
	}
	dir := Folder(filepath.Join("..", "..", "reports"), seed)
	t.Cleanup(func() { must(t, failover.Start(shared)) }) // the other tests need vipd on the nodes
	sum, err := Run(t.Context(), shared, Options{Seed: seed, Most: enough, Dir: dir, Out: logger{t}})
	if err != nil || !sum.OK() {
		t.Fatalf("%d of %d episodes broke a rule, %d things were left, nothing is proven of %q; `make chaos SEED=%d` tries the same, `make chaos-replay REPORT=%s` judges it again: %v",
			len(sum.Failed), sum.Episodes, len(sum.Left), sum.Unproven, seed, dir, err)
	}
	want := make(map[string]bool)
	for _, f := range Round(failover.Faults, seed, 0)[:enough] {
		want[f.Name] = true
	}
	if got := slices.Sorted(maps.Keys(sum.Kinds)); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
		t.Errorf("tried %q, want what the seed draws, %q", got, slices.Sorted(maps.Keys(want)))
	}
	again, err := Replay(dir)
	must(t, err)
	if len(again) != sum.Episodes {
		t.Errorf("%d episodes in the report, want %d", len(again), sum.Episodes)
	}
	for _, r := range again {
		if !r.Same() {
			t.Errorf("%s: %v the first time, then %v", r.Name, r.Then, r.Now)
		}
	}
	must(t, os.RemoveAll(dir))
}

// Ending also finds, on a node where vipd holds the VIP, what it looks for on a node without a
// vipd.
func TestSearch(t *testing.T) {
	n, err := failover.Ready(t.Context(), shared)
	must(t, err)
	c, err := shared.Clients[0].NS.Dial(t.Context(), "tcp", shared.Endpoint().String())
	must(t, err)
	defer c.Close()
	must(t, wait.Until(t.Context(), 10*time.Millisecond, func() (bool, error) {
		sockets, err := n.Connections(shared.VIP) // a connection is accepted a moment after it was dialled
		return len(sockets) > 0, err
	}))
	var left []string
	must(t, search(t.Context(), n, shared.VIP, "nothing", func(_ *lab.Node, format string, args ...any) {
		left = append(left, fmt.Sprintf(format, args...))
	}))
	for _, want := range []string{"it still has the VIP", "table vipd-", "connections of the VIP", "what is not vipd's"} {
		if !slices.ContainsFunc(left, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("saw %q, want %q", left, want)
		}
	}
}

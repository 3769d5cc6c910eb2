package bench_test

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/measure/bench"
)

// One round of one fault: the results show known properties of both contenders. The kernel goes on
// answering when keepalived is killed.
func TestBench(t *testing.T) {
	if _, err := exec.LookPath("keepalived"); err != nil {
		t.Fatalf("%v; hack/install-deps installs it", err)
	}
	binaries, err := lab.Build(t.Context(), lab.BuildOptions{Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	release, err := lab.Exclusive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	l, err := lab.Start(t.Context(), lab.Options{Binaries: binaries})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	faults, err := bench.Faults([]string{"sigkill"})
	if err != nil {
		t.Fatal(err)
	}
	opts := bench.Options{
		Runs: 1, Contenders: []bench.Contender{bench.KeepalivedTuned(), bench.Vipd(3 * time.Second)}, Faults: faults,
		Rest: 2 * time.Second, Wait: 20 * time.Second,
	}
	report, err := bench.Run(t.Context(), l, opts, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Results) != 2 {
		t.Fatalf("%d results, want 2", len(report.Results))
	}
	for _, r := range report.Results {
		if r.Next == "" || r.Next == r.Holder || r.Open || r.Requests == 0 {
			t.Errorf("%s did not move, or was not reachable: %+v", r.Contender, r)
		}
		if two := r.Together > 0; two != (r.Contender == bench.KeepalivedTunedName) {
			t.Errorf("%s: two nodes answered for %v", r.Contender, r.Together)
		}
	}
	for _, name := range []string{bench.VipdName, bench.KeepalivedTunedName} {
		u, ok := report.Usage(name, true)
		if !ok || u.Resident == 0 || u.Requests == 0 {
			t.Errorf("%s at rest: %+v", name, u)
		}
	}
	// Ten advertisements per second.
	if u, _ := report.Usage(bench.KeepalivedTunedName, true); u.Packets < 100 {
		t.Errorf("keepalived sent %v packets a minute", u.Packets)
	}
	for _, n := range l.Nodes {
		if addrs, err := n.Addresses(); n.Vipd.Running() || err != nil || len(addrs) != 1 {
			t.Errorf("%s is not as before: %v, %v", n.Name, addrs, err)
		}
	}
}

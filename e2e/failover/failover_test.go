package failover_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/lab"
)

// shared is a lab with vipd on all nodes; tests leave it so.
var shared *lab.Lab

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintf(os.Stderr, "failover: %v\n", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	binaries, err := lab.Build(ctx, lab.BuildOptions{Progress: os.Stderr})
	if err != nil {
		return 1, err
	}
	release, err := lab.Exclusive(ctx)
	if err != nil {
		return 1, err
	}
	defer release()
	shared, err = lab.Start(ctx, lab.Options{Binaries: binaries})
	if err != nil {
		return 1, err
	}
	if err := failover.Start(shared); err != nil {
		return 1, err
	}
	code = m.Run()
	if code != 0 {
		dir := filepath.Join(os.TempDir(), "vipd-lab-logs")
		fmt.Fprintf(os.Stderr, "failover: the lab's logs are in %s\n", dir)
		if err := shared.SaveLogs(dir); err != nil {
			return 1, err
		}
	}
	if err := shared.Close(); err != nil {
		return 1, err
	}
	if code == 0 {
		err = goleak.Find()
	}
	return code, err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestFaults breaks the holder in each way once, and in the ways that come out
// differently from run to run, several times.
func TestFaults(t *testing.T) {
	runs := map[string]int{"sigkill": 2, "sigstop": 2}
	for _, f := range append([]failover.Fault{failover.None(5 * time.Second)}, failover.Faults...) {
		for i := range max(1, runs[f.Name]) {
			t.Run(fmt.Sprintf("%s/%d", f.Name, i), func(t *testing.T) {
				out, err := failover.Run(t.Context(), shared, f, func(format string, args ...any) { t.Logf(format, args...) })
				must(t, err)
				t.Logf("unreachable for %v, %d requests failed, answers %v, announced after %v", out.Unreachable, out.Failed, out.Answered, out.Announced)
				check(t, out)
			})
		}
	}
}

// check asserts what holds in every run, whatever the machine is like today.
func check(t *testing.T, out failover.Outcome) {
	t.Helper()
	for _, v := range out.Twice {
		t.Errorf("two nodes answered at once: %v", v)
	}
	if out.Fault.Moves {
		if out.Next == out.Holder {
			t.Errorf("%s still has the VIP", out.Holder)
		}
		if !out.Moved {
			t.Error("the next holder did not announce itself")
		}
		return
	}
	if len(out.Answered) != 1 || out.Failed > 0 {
		t.Errorf("answers %v, %d requests failed: want one node and none", out.Answered, out.Failed)
	}
	for _, e := range out.History.Addresses {
		if e.At >= out.At {
			t.Errorf("the address moved: %+v", e)
		}
	}
}

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
	shared, err = lab.Start(ctx, failover.LabOptions(binaries))
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
				if out.IdleNoticed > 0 {
					t.Logf("idle client noticed after %v, was back after %v", out.IdleNoticed, out.IdleDone)
				}
				for _, v := range out.Violations {
					t.Error(v)
				}
			})
		}
	}
}

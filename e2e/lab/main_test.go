package lab_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/vipd-io/vipd/e2e/lab"
)

// ownerEnv makes the test binary a process that starts a lab and waits to be
// killed, for the test of Sweep.
const ownerEnv = "VIPD_LAB_TEST_OWNER"

var (
	binaries lab.Binaries
	shared   *lab.Lab // tests leave it with all nodes up
)

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintf(os.Stderr, "lab: %v\n", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	binaries, err = lab.Build(ctx, lab.BuildOptions{Progress: os.Stderr, ControlPlaneOnly: true})
	if err != nil {
		return 1, err
	}
	if name := os.Getenv(ownerEnv); name != "" {
		return 1, ownLab(ctx, name)
	}
	release, err := lab.Exclusive(ctx)
	if err != nil {
		return 1, err
	}
	defer release()
	begin := time.Now()
	shared, err = lab.Start(ctx, lab.Options{Binaries: binaries})
	if err != nil {
		return 1, err
	}
	fmt.Fprintf(os.Stderr, "lab %s started in %v\n", shared.Name, time.Since(begin).Round(time.Millisecond))
	code = m.Run()
	if err := shared.Close(); err != nil {
		return 1, err
	}
	if code == 0 {
		err = goleak.Find()
	}
	return code, err
}

// ownLab starts a lab, says so, and never returns.
func ownLab(ctx context.Context, name string) error {
	if _, err := lab.Start(ctx, lab.Options{Name: name, Binaries: binaries}); err != nil {
		return err
	}
	fmt.Println("started")
	select {}
}

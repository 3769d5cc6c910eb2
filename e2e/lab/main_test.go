package lab_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/labtest"
)

// ownerEnv makes the test binary start a lab and wait to be killed, for the test of Sweep.
const ownerEnv = "VIPD_LAB_TEST_OWNER"

var (
	binaries lab.Binaries // without vipd
	shared   *lab.Lab     // tests leave it with all nodes up
)

func TestMain(m *testing.M) {
	if name := os.Getenv(ownerEnv); name != "" {
		fmt.Fprintf(os.Stderr, "lab: %v\n", ownLab(context.Background(), name))
		os.Exit(1)
	}
	options := func(b lab.Binaries) lab.Options {
		b.Vipd = ""
		binaries = b
		return lab.Options{Binaries: b}
	}
	labtest.MainIn(m, options, func(l *lab.Lab) error {
		shared = l
		return nil
	})
}

// ownLab starts a lab, reports that, and never returns.
func ownLab(ctx context.Context, name string) error {
	bin, err := lab.Build(ctx, lab.BuildOptions{Progress: os.Stderr, ControlPlaneOnly: true})
	if err != nil {
		return err
	}
	if _, err := lab.Start(ctx, lab.Options{Name: name, Binaries: bin}); err != nil {
		return err
	}
	fmt.Println("started")
	select {}
}

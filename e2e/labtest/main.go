// Package labtest is for tests that share a lab with three nodes that vipd can run on.
package labtest

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/lab"
)

// Main is the TestMain of a package whose tests share a lab, which prepare is given
// first. It does not return.
func Main(m *testing.M, prepare func(*lab.Lab) error) {
	flag.Parse()
	code := 1
	err := lab.With(context.Background(), failover.LabOptions, func(l *lab.Lab) error {
		if err := prepare(l); err != nil {
			return err
		}
		code = m.Run()
		return nil
	})
	if err == nil && code == 0 {
		err = goleak.Find()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
		code = 1
	}
	os.Exit(code)
}

// Package labtest is for tests that share a lab.
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

// Main is the TestMain of a package whose tests share a lab with vipd on all nodes. It does
// not return.
func Main(m *testing.M, shared **lab.Lab) {
	MainIn(m, failover.LabOptions, func(l *lab.Lab) error {
		*shared = l
		return failover.Start(l)
	})
}

// MainIn is Main for another kind of lab, after a call of prepare.
func MainIn(m *testing.M, options func(lab.Binaries) lab.Options, prepare func(*lab.Lab) error) {
	run(m, lab.With, options, prepare)
}

// MainBeside is MainIn for tests that measure no time: see lab.Beside.
func MainBeside(m *testing.M, prepare func(*lab.Lab) error) {
	run(m, lab.WithBeside, failover.LabOptions, prepare)
}

type with = func(context.Context, func(lab.Binaries) lab.Options, func(*lab.Lab) error) error

func run(m *testing.M, with with, options func(lab.Binaries) lab.Options, prepare func(*lab.Lab) error) {
	flag.Parse()
	code := 1
	err := with(context.Background(), options, func(l *lab.Lab) error {
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

// Must ends a test that has an error.
func Must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

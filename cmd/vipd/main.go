// Command vipd keeps a virtual IP address on one node of a Kubernetes control
// plane. This package wires the others together and holds no logic of its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/vipd-io/vipd/pkg/migrate"
)

// Exit statuses.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	exitRefused = 3 // vipd manifest migrate: kube-vip does something that vipd does not
)

// usageError is a mistake in how vipd was called.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func main() {
	// The first signal ends vipd in order, the second one at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// execute runs a command line and returns its exit status.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "vipd",
		Short:         "Keep a virtual IP address on one node of a Kubernetes control plane",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usageError{errors.New("which command? `vipd --help` lists them")}
		},
	}
	root.AddCommand(newRunCommand(stderr), newMoveCommand(), newManifestCommand(), newVersionCommand())
	root.AddCommand(newKubeconfigCommand(stderr)) //nolint:contextcheck // cobra hands it on
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(stderr, "vipd: error: %s\n", line)
	}
	var usage usageError
	// cobra has no type of its own for a command that does not exist.
	if errors.As(err, &usage) || strings.HasPrefix(err.Error(), "unknown command") {
		return exitUsage
	}
	if refusal := (*migrate.Refusal)(nil); errors.As(err, &refusal) {
		return exitRefused
	}
	return exitFailure
}

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

	// Those of vipd status and vipd history, whose usage errors must not look like
	// an answer: EX_USAGE of sysexits.h(3head).
	exitHealthy     = exitOK
	exitDegraded    = 1
	exitNoHolder    = 2
	exitUnreachable = 3
	exitAskUsage    = 64
)

// exitError ends vipd with a status. Without an error in it, all has been said.
type exitError struct {
	error
	status int
}

func (e exitError) Unwrap() error { return e.error }

// asks marks a command that has the exit statuses of vipd status.
var asks = map[string]string{"exit": "status"}

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
	root.AddCommand(newRunCommand(stderr), newMoveCommand(), newManifestCommand(), newVersionCommand(), newStatusCommand(), newHistoryCommand(), newDoctorCommand())
	root.AddCommand(newKubeconfigCommand(stderr)) //nolint:contextcheck // cobra hands it on
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	cmd, err := root.ExecuteContextC(ctx)
	var exit exitError
	switch errors.As(err, &exit); {
	case err == nil:
		return exitOK
	case exit.status != 0 && exit.error == nil:
		return exit.status
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(stderr, "vipd: error: %s\n", line)
	}
	var usage usageError
	// cobra has no type of its own for a command that does not exist.
	if errors.As(err, &usage) || strings.HasPrefix(err.Error(), "unknown command") {
		if cmd.Annotations["exit"] == asks["exit"] {
			return exitAskUsage
		}
		return exitUsage
	}
	if exit.status != 0 {
		return exit.status
	}
	if refusal := (*migrate.Refusal)(nil); errors.As(err, &refusal) {
		return exitRefused
	}
	return exitFailure
}

// Package cli implements vipd's commands and their output.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vipd-io/vipd/internal/config"
	"github.com/vipd-io/vipd/internal/migrate"
)

// Execute runs a command line and returns its exit status.
func Execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "vipd",
		Short:         "Keep a virtual IP address on one node of a Kubernetes control plane",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return config.UsageError{Err: errors.New("command missing; `vipd --help` lists the commands")}
		},
	}
	root.AddCommand(newRunCommand(stderr), newMoveCommand(), newManifestCommand(), newVersionCommand(), newStatusCommand(), newHistoryCommand(), newDoctorCommand())
	root.AddCommand(newKubeconfigCommand(stderr)) //nolint:contextcheck // cobra passes the context
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	width, _ := newScreen(stdout, "never").size()
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages", ".FlagUsagesWrapped "+strconv.Itoa(width)))
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return config.UsageError{Err: err} })
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
	var usage config.UsageError
	// cobra has no error type for unknown commands.
	if errors.As(err, &usage) || strings.HasPrefix(err.Error(), "unknown command") {
		if cmd.Annotations["exit"] == askExits["exit"] {
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

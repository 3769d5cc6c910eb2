// Command lab starts, lists and ends labs: real control planes of three nodes on this machine, to
// try vipd.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the default action is restored, so a second one kills. The next lab
	// removes what is then left.
	context.AfterFunc(ctx, stop)
	err := newRoot(os.Stdout).ExecuteContext(ctx)
	if err != nil && errors.Is(err, ctx.Err()) {
		fmt.Fprintln(os.Stderr, "\nlab: interrupted; what was started has been ended")
		os.Exit(130)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "lab: error: %v\n", err)
		os.Exit(1)
	}
}

func newRoot(out *os.File) *cobra.Command {
	root := &cobra.Command{
		Use:           "lab",
		Short:         "A real Kubernetes control plane of three nodes on this machine",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newBuild(), newUp(out), newDown(out), newList(out), newDemo(out), newDemoDoctor(out), newBench(out), newScale(out),
		newChaos(out), newChaosReplay(out))
	return root
}

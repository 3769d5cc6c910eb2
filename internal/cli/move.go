package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/vipd-io/vipd/internal/config"
	"github.com/vipd-io/vipd/internal/version"
	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/kubeapi"
)

// moveTimeout bounds the wait for a move, which takes tens of milliseconds.
const moveTimeout = 10 * time.Second

func newMoveCommand() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "move",
		Short: "Move the address to another node, now",
		Long: `Request a move of the address from the holder, and wait for the new holder.

The request is an annotation on the Lease: it works from every machine with
permissions to update the Lease. The holder decides, and refuses if no API
server of another node is ready. The command needs no capabilities.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return config.UsageError{Err: fmt.Errorf("move takes flags only, not %q: use --to %s", args[0], args[0])}
			}
			return nil
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().StringVar(&to, "to", "", "node to move the address to (default: the holder selects the node)")
	addSettings(cmd, config.ClientSettings)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		values, _, errs := readSettings(cmd, os.Environ())
		c, err := config.ParseClient(values)
		if err := errors.Join(append(errs, err)...); err != nil {
			return config.UsageError{Err: err}
		}
		return move(cmd.Context(), c, to, cmd.OutOrStdout())
	}
	return cmd
}

func move(ctx context.Context, c config.Config, to string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	if to == "" {
		to = election.AnyNode
	}
	api := kubeapi.New(kubeapi.Options{Server: c.APIServer, Kubeconfigs: c.Kubeconfigs, UserAgent: "vipd-move/" + version.String()})
	store := &election.KubeStore{API: api, Namespace: c.LeaseNamespace, Name: c.LeaseName, Establish: moveTimeout}
	began := boottime.Now()
	m, err := store.RequestMove(ctx, to)
	switch {
	case err != nil:
		return moveError(err, c)
	case m.From == m.To:
		fmt.Fprintf(out, "%s holds the address already\n", m.To)
	case to != election.AnyNode && m.To != to:
		return fmt.Errorf("%s holds the address now, because %s did not take the address in time: is vipd running on %s?", m.To, to, to)
	default:
		fmt.Fprintf(out, "%s -> %s: moved, term %d, %d ms after it was asked for\n", m.From, m.To, m.Term, boottime.Now().Sub(began).Milliseconds())
	}
	return nil
}

// moveError adds what to do to an error.
func moveError(err error, c config.Config) error {
	lease := c.LeaseNamespace + "/" + c.LeaseName
	switch {
	case errors.Is(err, election.ErrNoHolder):
		return fmt.Errorf("no node holds Lease %s: is vipd running on a control-plane node?", lease)
	case errors.Is(err, election.ErrNotVipd):
		return fmt.Errorf("move: %w; Lease %s: only vipd can move the address", err, lease)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("move: %w; the holder did not react within %s: see vipd's log on the holder", err, moveTimeout)
	}
	return fmt.Errorf("move: %w", err)
}

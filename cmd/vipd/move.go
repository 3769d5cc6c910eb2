package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/config"
	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/kubeapi"
)

// moveTimeout bounds the wait for a hand-over, which takes some ten milliseconds.
const moveTimeout = 10 * time.Second

func newMoveCommand() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "move",
		Short: "Move the address to another node, now",
		Long: `Ask the holder to hand the address over, and wait until it has.

The wish goes through the Lease, as an annotation: so it works from every node and
for whoever may update the Lease, and the holder is the one to decide. It refuses
if no other node's API server is ready. What vipd may do is not needed: no
capability, no address.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("move takes flags only, not %q: write --to %s", args[0], args[0])}
			}
			return nil
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().StringVar(&to, "to", "", "node to move it to (default: the one that the holder thinks best)")
	addSettings(cmd, config.ClientSettings)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		values, _, errs := readSettings(cmd, os.Environ())
		c, err := config.ParseClient(values)
		if err := errors.Join(append(errs, err)...); err != nil {
			return usageError{err}
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
	api := kubeapi.New(kubeapi.Options{Server: c.APIServer, Kubeconfigs: c.Kubeconfigs, UserAgent: "vipd-move/" + versionString()})
	store := &election.KubeStore{API: api, Namespace: c.LeaseNamespace, Name: c.LeaseName, Establish: moveTimeout}
	began := boottime.Now()
	m, err := store.RequestMove(ctx, to)
	switch {
	case err != nil:
		return moveError(err, c)
	case m.From == m.To:
		fmt.Fprintf(out, "%s holds the address already\n", m.To)
	case to != election.AnyNode && m.To != to:
		return fmt.Errorf("%s holds the address now, not %s, which did not take it in time: is vipd running there?", m.To, to)
	default:
		fmt.Fprintf(out, "%s -> %s: moved, term %d, %d ms after it was asked for\n", m.From, m.To, m.Term, boottime.Now().Sub(began).Milliseconds())
	}
	return nil
}

// moveError says what to do about it.
func moveError(err error, c config.Config) error {
	lease := c.LeaseNamespace + "/" + c.LeaseName
	switch {
	case errors.Is(err, election.ErrNoHolder):
		return fmt.Errorf("nobody holds lease %s, so there is nothing to move: is vipd running on a control-plane node?", lease)
	case errors.Is(err, election.ErrNotVipd):
		return fmt.Errorf("move: %w; of lease %s: only a vipd can be asked to hand over", err, lease)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("move: %w; the holder did not act on it within %s: see vipd's log there", err, moveTimeout)
	}
	return fmt.Errorf("move: %w", err)
}

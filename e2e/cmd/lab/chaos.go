package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/vipd-io/vipd/e2e/chaos"
	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/lab"
)

func newChaos(out io.Writer) *cobra.Command {
	var opts chaos.Options
	var reports string
	var keep bool
	cmd := &cobra.Command{
		Use:   "chaos",
		Short: "Break a control plane in ways that a seed draws, and judge what is seen",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if opts.Seed == 0 {
				opts.Seed = chaos.NewSeed()
			}
			opts.Dir = chaos.Folder(reports, opts.Seed)
			opts.Out = out
			return runChaos(cmd.Context(), opts, keep)
		},
	}
	flags := cmd.Flags()
	flags.Uint64Var(&opts.Seed, "seed", 0, "seed of the faults, 0 for another one each time")
	flags.DurationVar(&opts.For, "for", 0, "how long to go on, 0 for one round")
	flags.StringSliceVar(&opts.Only, "faults", nil, "names of the faults to take of each round (default all)")
	flags.StringVar(&reports, "reports", "reports", "folder for the report's folder")
	flags.BoolVar(&keep, "keep", false, "keep the report also if nothing was wrong")
	return cmd
}

func runChaos(ctx context.Context, opts chaos.Options, keep bool) error {
	var sum chaos.Summary
	err := lab.With(ctx, failover.LabOptions, func(l *lab.Lab) (err error) {
		if err := failover.Start(l); err != nil {
			return err
		}
		sum, err = chaos.Run(ctx, l, opts)
		return err
	})
	fmt.Fprintf(opts.Out, "seed %d: %d episodes with %d different faults; %d broke a rule, %d things were left behind\n",
		opts.Seed, sum.Episodes, len(sum.Kinds), len(sum.Failed), len(sum.Left))
	switch {
	case err != nil:
		return err
	case !sum.OK():
		return fmt.Errorf("a rule was broken: see the timelines in %s", opts.Dir)
	case !keep:
		return os.RemoveAll(opts.Dir)
	}
	return nil
}

func newChaosReplay(out io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "chaos-replay REPORT",
		Short: "Judge a report of chaos again, by the rules as they are now",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			list, err := chaos.Replay(args[0])
			broken := 0
			for _, r := range list {
				verdict := "as before"
				if !r.Same() {
					verdict = fmt.Sprintf("%d broken rules before", len(r.Then))
				}
				fmt.Fprintf(out, "%-36s %d broken rules, %s\n", r.Name, len(r.Now), verdict)
				for _, v := range r.Now {
					fmt.Fprintf(out, "     %v\n", v)
				}
				broken += min(1, len(r.Now))
			}
			if broken > 0 {
				err = errors.Join(err, fmt.Errorf("%d of %d episodes break a rule", broken, len(list)))
			}
			return err
		},
	}
}

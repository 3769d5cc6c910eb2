package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/kubeadm"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/suites/chaos"
)

func newChaos(out io.Writer) *cobra.Command {
	var opts chaos.Options
	var reports string
	var keep, kubelet bool
	cmd := &cobra.Command{
		Use:   "chaos",
		Short: "Inject random faults into a control plane, and judge the records",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if opts.Seed == 0 {
				opts.Seed = chaos.NewSeed()
			}
			opts.Dir = chaos.Folder(reports, opts.Seed)
			opts.Out = out
			return runChaos(cmd.Context(), opts, kubelet, keep)
		},
	}
	flags := cmd.Flags()
	flags.Uint64Var(&opts.Seed, "seed", 0, "seed of the faults, 0 for another one each time")
	flags.DurationVar(&opts.For, "for", 0, "duration, 0 for one round")
	flags.StringSliceVar(&opts.Only, "faults", nil, "names of the faults of each round (default all)")
	flags.StringVar(&reports, "reports", "reports", "folder for the report's folder")
	flags.BoolVar(&kubelet, "kubelet", false, "use nodes that kubeadm set up, with kubelet, containerd and vipd in a static pod")
	flags.BoolVar(&keep, "keep", false, "keep the report even if no rule was broken")
	return cmd
}

// breakPlain injects faults on nodes with etcd, an API server and vipd only.
func breakPlain(ctx context.Context, opts chaos.Options) (sum chaos.Summary, err error) {
	err = lab.With(ctx, failover.LabOptions, func(l *lab.Lab) (err error) {
		if err := failover.Start(l); err != nil {
			return err
		}
		sum, err = chaos.Run(ctx, l, opts)
		return err
	})
	return sum, err
}

// breakKubelets injects faults on nodes that kubeadm set up.
func breakKubelets(ctx context.Context, opts chaos.Options) (sum chaos.Summary, err error) {
	err = kubeadm.WithJoined(ctx, func(c *kubeadm.Cluster) (err error) {
		opts.Faults = slices.Concat(failover.OfKubelets(), c.Faults())
		opts.SaveLogs = c.SaveLogs
		sum, err = chaos.Run(ctx, c.Lab, opts)
		return err
	})
	return sum, err
}

func runChaos(ctx context.Context, opts chaos.Options, kubelet, keep bool) error {
	do := breakPlain
	if kubelet {
		do = breakKubelets
	}
	sum, err := do(ctx, opts)
	fmt.Fprintf(opts.Out, "seed %d: %d episodes with %d different faults; %d broke a rule, %d things were left behind\n",
		opts.Seed, sum.Episodes, len(sum.Kinds), len(sum.Failed), len(sum.Left))
	fmt.Fprintf(opts.Out, "not observed: %.2f s of %.0f s; %d faults are not proven\n", sum.Blind.Seconds(), sum.Watched.Seconds(), len(sum.Unproven))
	switch {
	case err != nil:
		return err
	case sum.OnlyUnproven():
		return fmt.Errorf("%d faults are unproven, because the machine was too busy to observe them: see %s", len(sum.Unproven), opts.Dir)
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
		Short: "Judge a report of chaos again, by the current rules",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			list, err := chaos.Replay(args[0])
			broken := 0
			for _, r := range list {
				verdict := "as before"
				if !r.Same() {
					verdict = fmt.Sprintf("%d broken rules before", len(r.Then.Violations))
				}
				fmt.Fprintf(out, "%-36s %d broken rules, %s\n", r.Name, len(r.Now.Violations), verdict)
				for _, v := range r.Now.Violations {
					fmt.Fprintf(out, "     %v\n", v)
				}
				if r.Now.Unproven != "" {
					fmt.Fprintf(out, "     nothing is proven: %s\n", r.Now.Unproven)
				}
				for _, g := range r.Now.Gaps {
					fmt.Fprintf(out, "     %v\n", g)
				}
				broken += min(1, len(r.Now.Violations))
			}
			if broken > 0 {
				err = errors.Join(err, fmt.Errorf("%d of %d episodes break a rule", broken, len(list)))
			}
			return err
		},
	}
}

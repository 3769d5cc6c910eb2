package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/measure/bench"
)

type benchOptions struct {
	runs        int
	contenders  []string
	daemons     []string
	faults      []string
	lease       time.Duration
	quiet, rest time.Duration
	wait        time.Duration
	atMost      time.Duration
	save        string
	write       string
	readme      string
	from        string
}

func newBench(out io.Writer) *cobra.Command {
	var opts benchOptions
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure vipd and other managers of a VIP beside each other",
		Long: `Measure vipd and other managers of a VIP beside each other: how long the VIP is
unreachable after each fault, for how long two nodes answer, what it costs at rest.

--daemon-cmd adds any other manager, as a shell command that stays in the
foreground and withdraws at SIGTERM. Fields in it: {{.Node}} {{.Index}} {{.IP}}
{{.Peers}} {{.Interface}} {{.VIP}} {{.Port}} {{.Kubeconfig}} {{.Priority}}, and
{{.Dir}}, a folder for its files, which the command creates.`,
		Example: `  lab bench --runs 3 --contenders vipd --daemon-cmd 'ucarp=ucarp -i {{.Interface}} -s {{.IP}} -a {{.VIP}} ...'`,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runBench(cmd.Context(), out, opts) },
	}
	flags := cmd.Flags()
	flags.IntVar(&opts.runs, "runs", 10, "runs of each fault with each manager, interleaved")
	flags.StringSliceVar(&opts.contenders, "contenders", bench.DefaultContenders, "managers to measure")
	flags.StringArrayVar(&opts.daemons, "daemon-cmd", nil, "NAME=COMMAND of another manager, may be repeated")
	flags.StringSliceVar(&opts.faults, "faults", nil, "names of the faults, or all (default those of all managers, and a planned move)")
	flags.DurationVar(&opts.lease, "lease", 3*time.Second, "vipd's lease duration")
	flags.DurationVar(&opts.quiet, "quiet", 20*time.Second, "how long to observe each without a fault, 0 to omit it")
	flags.DurationVar(&opts.rest, "rest", 40*time.Second, "how long to measure the cost of each at rest, 0 to omit it")
	flags.DurationVar(&opts.wait, "wait", 45*time.Second, "how long to wait for a VIP that does not move")
	flags.DurationVar(&opts.atMost, "at-most", 0, "start no further round after that time")
	flags.StringVar(&opts.save, "save", "", "folder for the records of each run, as JSON lines")
	flags.StringVar(&opts.write, "write", "", "folder to write DATE.md, its plot and its records to")
	flags.StringVar(&opts.readme, "readme", "", "README to write the figures to")
	flags.StringVar(&opts.from, "from", "", "records to show again, without measuring")
	return cmd
}

func runBench(ctx context.Context, out io.Writer, opts benchOptions) error {
	if opts.from != "" {
		report, err := bench.ReadFile(opts.from)
		if err != nil {
			return err
		}
		return show(out, report, opts)
	}
	report, err := measure(ctx, out, opts)
	if report == nil || len(report.Results) == 0 {
		return err
	}
	return errors.Join(err, show(out, report, opts), surprises(report))
}

// measure measures in its own lab.
func measure(ctx context.Context, out io.Writer, opts benchOptions) (report *bench.Report, err error) {
	what, err := opts.parse()
	if err != nil {
		return nil, err
	}
	options := func(bin lab.Binaries) lab.Options {
		what.Machine = bench.ThisMachine(ctx, bin)
		o := failover.LabOptions(bin)
		o.Foreign = false // what managers leave is removed with everything else
		return o
	}
	err = lab.With(ctx, options, func(l *lab.Lab) (err error) {
		report, err = bench.Run(ctx, l, what, out)
		return err
	})
	return report, err
}

func (o benchOptions) parse() (what bench.Options, err error) {
	what = bench.Options{Runs: o.runs, Quiet: o.quiet, Rest: o.rest, Wait: o.wait, AtMost: o.atMost, Save: o.save}
	var commands []bench.Contender
	for _, text := range o.daemons {
		c, err := bench.ParseCommand(text)
		if err != nil {
			return what, err
		}
		commands = append(commands, c)
	}
	if what.Contenders, err = bench.Contenders(o.contenders, commands, o.lease); err != nil {
		return what, err
	}
	what.Faults, err = bench.Faults(o.faults)
	return what, err
}

func show(out io.Writer, report *bench.Report, opts benchOptions) error {
	err := report.Print(out)
	if opts.write != "" {
		err = errors.Join(err, report.WriteFiles(opts.write))
	}
	if opts.readme != "" {
		err = errors.Join(err, report.PutInto(opts.readme))
	}
	return err
}

// surprises returns an error if vipd broke a promise. The results are shown in any case.
func surprises(report *bench.Report) error {
	var errs []error
	for _, r := range report.Results {
		if len(r.Broken) > 0 {
			errs = append(errs, fmt.Errorf("%s, run %d: %s", r.Fault, r.Run, strings.Join(r.Broken, "; ")))
		}
	}
	return errors.Join(errs...)
}

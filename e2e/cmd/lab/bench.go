package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/record"
)

type benchOptions struct {
	runs   int
	quiet  time.Duration
	faults []string
	save   string
	lease  time.Duration
}

func newBench(out io.Writer) *cobra.Command {
	var opts benchOptions
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure how long the VIP is unreachable after each fault",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return bench(cmd.Context(), out, opts) },
	}
	flags := cmd.Flags()
	flags.IntVar(&opts.runs, "runs", 10, "runs of each fault, interleaved")
	flags.DurationVar(&opts.quiet, "quiet", time.Minute, "how long to watch without a fault, 0 to leave it out")
	flags.DurationVar(&opts.lease, "lease", 3*time.Second, "lease duration")
	flags.StringVar(&opts.save, "save", "", "folder to keep the record of each run in, as JSON lines")
	flags.StringSliceVar(&opts.faults, "faults", nil, "names of the faults (default all)")
	return cmd
}

// row is one line of the table.
type row struct {
	title       string
	unreachable []time.Duration
	announced   []time.Duration
	failed      int
	twice       int
	unexpected  int // runs that did not go as the fault promises
}

func (r *row) add(o failover.Outcome) {
	r.unreachable = append(r.unreachable, o.Unreachable)
	r.failed += o.Failed
	r.twice += len(o.Twice)
	if !o.AsExpected() {
		r.unexpected++
	}
	if o.Moved {
		r.announced = append(r.announced, o.Announced)
	}
}

func bench(ctx context.Context, out io.Writer, opts benchOptions) (err error) {
	faults, err := chosen(opts.faults)
	if err != nil {
		return err
	}
	bin, err := lab.Build(ctx, lab.BuildOptions{Progress: os.Stderr})
	if err != nil {
		return err
	}
	release, err := lab.Exclusive(ctx)
	if err != nil {
		return err
	}
	defer release()
	l, err := lab.Start(ctx, failover.LabOptions(bin))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := failover.Start(l, "--lease-duration", opts.lease.String()); err != nil {
		return err
	}
	idle, err := measureIdle(ctx, l)
	if err != nil {
		return err
	}
	table, err := measure(ctx, out, l, faults, opts)
	if err != nil {
		return err
	}
	return errors.Join(report(out, table, idle, opts.lease), surprises(table))
}

func chosen(names []string) ([]failover.Fault, error) {
	if len(names) == 0 {
		return failover.Faults, nil
	}
	var out []failover.Fault
	for _, n := range names {
		f, err := failover.ByName(n)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// measure runs the faults in turn, so that a change of the machine's mood hits
// all of them alike.
func measure(ctx context.Context, out io.Writer, l *lab.Lab, faults []failover.Fault, opts benchOptions) ([]*row, error) {
	var table []*row
	rows := make(map[string]*row)
	into := func(title string) *row {
		if rows[title] == nil {
			rows[title] = &row{title: title}
			table = append(table, rows[title])
		}
		return rows[title]
	}
	say := func(string, ...any) {}
	if opts.quiet > 0 {
		o, err := failover.Run(ctx, l, failover.None(opts.quiet), say)
		if err != nil {
			return nil, err
		}
		into(o.Promise.Title).add(o)
	}
	for _, f := range faults {
		into(f.Title)
	}
	for i := range opts.runs {
		for _, f := range faults {
			o, err := failover.Run(ctx, l, f, say)
			if err != nil {
				return nil, err
			}
			into(f.Title).add(o)
			if err := save(opts.save, fmt.Sprintf("%s-%02d.jsonl", f.Name, i+1), o.History); err != nil {
				return nil, err
			}
			if f.Name == "poweroff" {
				into(f.Title + ", of which " + etcdRole(o)).add(o)
			}
			fmt.Fprintf(out, "%2d/%d  %-28s %s -> %s  %-10s  unreachable %-8s announced after %-6s %s\n", i+1, opts.runs, f.Title,
				o.Holder, o.Next, verdict(o), round(o.Unreachable), round(o.Announced), idleClient(o))
			for _, problem := range o.Violations {
				fmt.Fprintf(out, "       NOT AS EXPECTED: %s\n", problem)
			}
		}
	}
	return table, nil
}

// verdict tells whether the VIP did what the fault promises.
func verdict(o failover.Outcome) string {
	switch {
	case !o.AsExpected():
		return "UNEXPECTED"
	case o.Promise.Moves:
		return "moved"
	default:
		return "stayed"
	}
}

// idleClient tells of a client whose connection lay idle, if that ended.
func idleClient(o failover.Outcome) string {
	switch {
	case o.IdleNoticed == 0:
		return ""
	case o.IdleDone == 0:
		return fmt.Sprintf("idle client noticed after %s, not back", round(o.IdleNoticed))
	default:
		return fmt.Sprintf("idle client noticed after %s, back after %s", round(o.IdleNoticed), round(o.IdleDone))
	}
}

// surprises is an error if anything went otherwise than promised. The table is
// printed all the same.
func surprises(table []*row) error {
	var errs []error
	for _, r := range table {
		if r.unexpected > 0 {
			errs = append(errs, fmt.Errorf("%s: %d of %d runs went otherwise than expected", r.title, r.unexpected, len(r.unreachable)))
		}
	}
	return errors.Join(errs...)
}

// save keeps what was seen of a run, for a closer look at one that stands out.
func save(dir, name string, h record.History) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	return errors.Join(record.Write(f, h), f.Close())
}

func etcdRole(o failover.Outcome) string {
	if o.EtcdLeader {
		return "etcd's leader went, too"
	}
	return "etcd's leader stayed"
}

func report(out io.Writer, table []*row, idle []usage, lease time.Duration) error {
	fmt.Fprintf(out, "\nUnreachable over HTTPS, fresh connections, a request every 10 ms; lease duration %s\n\n", lease)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "fault on the holder\truns\tmedian\tp95\tmax\tfailed requests\ttwo MACs answering\tfirst announcement, max")
	for _, r := range table {
		s := failover.Summarize(r.unreachable)
		twice := "never"
		if r.twice > 0 {
			twice = fmt.Sprintf("%d TIMES", r.twice)
		}
		announced := "-"
		if len(r.announced) > 0 {
			announced = fmt.Sprintf("%.1f ms", float64(failover.Summarize(r.announced).Max.Microseconds())/1000)
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%d\t%s\t%s\n", r.title, s.N, round(s.Median), round(s.P95), round(s.Max), r.failed, twice, announced)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out, "\nvipd at rest")
	for _, u := range idle {
		fmt.Fprintf(out, "  %s  %-8s %.2f %% of a core, %.1f MiB resident (%.1f MiB of it not file pages)\n", u.node, u.role, u.cpu*100, u.resident/1024, u.anonymous/1024)
	}
	return nil
}

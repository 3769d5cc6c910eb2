package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/measure/scale"
)

type scaleOptions struct {
	nodes, vips, servers []int
	window               time.Duration
	runs                 int
	out, date, from      string
}

func newScale(out io.Writer) *cobra.Command {
	var opts scaleOptions
	cmd := &cobra.Command{
		Use:   "scale",
		Short: "Measure what vipd costs against the number of nodes and of VIPs",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return runScale(cmd.Context(), out, opts) },
	}
	flags := cmd.Flags()
	flags.IntSliceVar(&opts.nodes, "nodes", []int{3, 5, 9, 25, 100}, "numbers of nodes, of which three have an API server")
	flags.IntSliceVar(&opts.vips, "vips", []int{1, 2, 4, 8, 16}, "numbers of VIPs, at three nodes")
	flags.IntSliceVar(&opts.servers, "servers", []int{9, 25}, "numbers of nodes, of which each has an API server")
	flags.DurationVar(&opts.window, "window", 30*time.Second, "how long to watch each of them at rest")
	flags.IntVar(&opts.runs, "runs", 3, "takeovers of each kind at each number of nodes, with three API servers")
	flags.StringVar(&opts.out, "out", "../docs/benchmarks", "folder for DATE-scale.md and DATE-scale/")
	flags.StringVar(&opts.date, "date", time.Now().Format(time.DateOnly), "date in the names")
	flags.StringVar(&opts.from, "from", "", "draw and write again from this figures.json, without measuring")
	return cmd
}

func runScale(ctx context.Context, out io.Writer, opts scaleOptions) error {
	points, err := scale.Points(opts.nodes, opts.vips, opts.servers)
	if err != nil {
		return err
	}
	var report scale.Report
	if opts.from != "" {
		report, err = scale.Load(opts.from)
	} else {
		report, err = measureScale(ctx, out, points, opts)
	}
	if err != nil {
		return err
	}
	document, err := scale.Save(report, opts.out)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "written: %s\n", document)
	return report.Problems()
}

func measureScale(ctx context.Context, out io.Writer, points []scale.Point, opts scaleOptions) (report scale.Report, err error) {
	err = lab.With(ctx, scale.LabOptions, func(l *lab.Lab) (err error) {
		begin := time.Now()
		report, err = scale.Run(ctx, l, scale.Options{Points: points, Window: opts.window, Calm: scale.Calm, Runs: opts.runs,
			Say: func(format string, args ...any) {
				fmt.Fprintf(out, "%4.0f s  %s\n", time.Since(begin).Seconds(), fmt.Sprintf(format, args...))
			}})
		return err
	})
	if err != nil {
		return report, err
	}
	report.Date = opts.date
	report.Machine, err = scale.Machine()
	return report, err
}

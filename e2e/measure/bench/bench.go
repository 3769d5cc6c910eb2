// Package bench compares managers of a VIP: in the same lab, with the same observers and the same
// faults, interleaved. It uses only what is visible from outside: who answers ARP, who serves
// requests, which node has the address.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/vipd-io/vipd/e2e/lab"
)

// Options configures Run.
type Options struct {
	Machine    Machine
	Runs       int
	Contenders []Contender
	Faults     []Fault
	// Quiet is for how long each contender is observed without a fault, Rest for how long its cost
	// is measured; 0 omits that.
	Quiet, Rest time.Duration
	// AtMost, if set, is the time after which no round is started.
	AtMost time.Duration
	// Wait is how long to wait for a VIP that does not move.
	Wait time.Duration
	// Save, if set, is a folder for the records of each run.
	Save string
}

// Slow faults are repeated less often: their results are far apart anyway.
const (
	slow     = 10 * time.Second
	slowRuns = 3
)

// attempts bounds the attempts of a run that could not be observed, because the machine was busy.
const attempts = 3

// typical is the estimated duration of a run.
const typical = 10 * time.Second

type bench struct {
	lab    *lab.Lab
	opts   Options
	out    io.Writer
	report *Report
}

// Run measures in a lab, and writes its progress to out. After an error, the report has the results
// so far.
func Run(ctx context.Context, l *lab.Lab, opts Options, out io.Writer) (*Report, error) {
	b := &bench{lab: l, opts: opts, out: out, report: newReport(opts)}
	err := b.run(ctx)
	return b.report, err
}

func (b *bench) run(ctx context.Context) error {
	began := time.Now()
	b.say("this takes about %v", b.estimate().Round(time.Minute))
	if b.opts.Rest > 0 {
		for _, c := range b.opts.Contenders {
			b.say("%s at rest, for %v", c.Name, b.opts.Rest)
			cost, err := b.atRest(ctx, c)
			if err != nil {
				return fmt.Errorf("%s at rest: %w", c.Name, err)
			}
			b.report.Costs = append(b.report.Costs, cost...)
		}
	}
	if b.opts.Quiet > 0 {
		if err := b.round(ctx, 1, []Fault{none(b.opts.Quiet)}); err != nil {
			return err
		}
	}
	for run := 1; run <= b.opts.Runs; run++ {
		if b.opts.AtMost > 0 && time.Since(began) > b.opts.AtMost {
			b.say("no more rounds: %v are over", b.opts.AtMost)
			break
		}
		round := time.Now()
		if err := b.round(ctx, run, b.opts.Faults); err != nil {
			return err
		}
		took := time.Since(round)
		left := took * time.Duration(b.opts.Runs-run)
		b.say("round %d of %d took %v, about %v to go", run, b.opts.Runs, took.Round(time.Second), left.Round(time.Minute))
	}
	return nil
}

// round runs each fault once with each contender. The contender that is first changes, so that
// changes of the machine's load affect all alike.
func (b *bench) round(ctx context.Context, run int, faults []Fault) error {
	for i, f := range faults {
		for j := range b.opts.Contenders {
			c := b.opts.Contenders[(i+j+run)%len(b.opts.Contenders)]
			if f.only != nil && !c.vipd || b.enough(c, f) {
				continue
			}
			r, err := b.retry(ctx, c, f, run)
			if err != nil {
				return fmt.Errorf("%s, %s, run %d: %w", c.Name, f.Title, run, err)
			}
			b.report.Results = append(b.report.Results, r)
			b.say("%2d  %-34s %-18s %s", run, f.Title, c.Name, r)
			for _, rule := range r.Broken {
				b.say("    NOT AS EXPECTED: %s", rule)
			}
		}
	}
	return nil
}

// retry repeats a run that could not be observed.
func (b *bench) retry(ctx context.Context, c Contender, f Fault, run int) (Result, error) {
	var errs []error
	for range attempts {
		r, err := b.try(ctx, c, f, run)
		if err == nil {
			return r, nil
		}
		if ctx.Err() != nil {
			return r, err
		}
		errs = append(errs, err)
		b.report.Discarded++
		b.say("    once more: %v", err)
	}
	return Result{}, errors.Join(errs...)
}

// enough tells whether a slow fault was run often enough.
func (b *bench) enough(c Contender, f Fault) bool {
	var seen []Result
	for _, r := range b.report.Results {
		if r.Contender == c.Name && r.Fault == f.Name {
			seen = append(seen, r)
		}
	}
	return len(seen) >= slowRuns && !slices.ContainsFunc(seen, func(r Result) bool { return r.Watched < slow })
}

// estimate returns the estimated duration.
func (b *bench) estimate() time.Duration {
	total := time.Duration(len(b.opts.Contenders)) * (2*b.opts.Rest + b.opts.Quiet)
	for _, f := range b.opts.Faults {
		each := len(b.opts.Contenders)
		if f.only != nil {
			each = 1
		}
		total += time.Duration(each*b.opts.Runs) * typical
	}
	if b.opts.AtMost > 0 {
		total = min(total, b.opts.AtMost)
	}
	return total
}

func (b *bench) say(format string, args ...any) { fmt.Fprintf(b.out, format+"\n", args...) }

// Package selfcheck runs the doctor's cheap checks in a running vipd.
package selfcheck

import (
	"context"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/internal/config"
	"github.com/vipd-io/vipd/internal/doctor"
	"github.com/vipd-io/vipd/internal/doctor/gather"
	"github.com/vipd-io/vipd/internal/status"
	"github.com/vipd-io/vipd/pkg/boottime"
)

const (
	// pollInterval is the interval of polling the status for problems.
	pollInterval = 2 * time.Second
	// checkInterval is the interval of the checks while there are problems or findings.
	checkInterval = 10 * time.Second
)

// Checker runs the doctor's cheap checks: once after the start, when problems begin and end, and
// periodically while there are problems or findings. The checks only read local state.
type Checker struct {
	board   *status.Board
	examine func(context.Context) (doctor.Report, error)
	log     *zap.Logger

	schedule   schedule
	lastLogged string // the last report in the log
	lastError  string
}

// New returns a Checker that uses vipd's own status.
func New(c config.Config, board *status.Board, log *zap.Logger) *Checker {
	return &Checker{board: board, log: log, examine: func(ctx context.Context) (doctor.Report, error) {
		h, err := gather.OpenHost(c.Addresses[0]) // separate from the handle that manages the address
		if err != nil {
			return doctor.Report{}, err
		}
		defer h.Close()
		s := board.Status()
		request := &gather.Request{Mode: doctor.Node, VIP: c.Addresses[0], Port: c.Port, Interface: c.Interface, Status: &s}
		input, err := request.Input(ctx, h)
		if err != nil {
			return doctor.Report{}, err
		}
		input.Queries.Cluster = nil // vipd itself uses the API server, and reports its errors
		return doctor.Examine(ctx, input, doctor.Options{Cheap: true}), nil
	}}
}

// Run runs the checks until ctx ends.
func (c *Checker) Run(ctx context.Context) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if c.schedule.due(len(c.board.Problems()) > 0) {
			c.check(ctx)
		}
	}
}

// schedule decides, at each poll, whether the checks run.
type schedule struct {
	polls     int  // since the last run
	done      bool // the checks ran at least once
	trouble   bool // there were problems at the last poll
	unsettled bool // problems began or ended at the last poll, and their effects may take a moment
	findings  bool // of the last run
}

// due reports whether the checks run now.
func (s *schedule) due(trouble bool) bool {
	s.polls++
	changed := trouble != s.trouble
	s.trouble = trouble
	again := (trouble || s.findings) && s.polls >= int(checkInterval/pollInterval)
	due := !s.done || s.unsettled && !changed || again
	s.unsettled = changed
	if due {
		s.polls, s.done = 0, true
	}
	return due
}

// check runs the checks and reports their findings.
func (c *Checker) check(ctx context.Context) {
	r, err := c.examine(ctx)
	if err != nil {
		if text := err.Error(); text != c.lastError && ctx.Err() == nil {
			c.lastError = text
			c.log.Warn("self-check failed", zap.Error(err))
		}
		return
	}
	c.lastError, c.schedule.findings = "", len(r.Findings()) > 0
	d := statusOf(r, c.board.At(boottime.Now()))
	c.board.Update(func(f *status.Facts) { f.Doctor = d })
	c.report(r)
}

// report writes a log line if the findings changed.
func (c *Checker) report(r doctor.Report) {
	var findings, remedies []string
	for _, f := range r.Findings() {
		findings = append(findings, f.ID+": "+f.Seen)
		remedies = append(remedies, f.ID+": "+f.Remedy[0])
	}
	verdict := strings.Join(r.Verdict, " ")
	news := verdict + strings.Join(findings, "\n")
	if news == c.lastLogged {
		return
	}
	c.lastLogged = news
	worst, found := r.Worst()
	switch {
	case !found:
		c.log.Info("self-check passed", zap.String("verdict", verdict))
	case worst == doctor.Error:
		c.log.Error("self-check found errors", zap.String("verdict", verdict), zap.Strings("findings", findings), zap.Strings("remedy", remedies))
	default:
		c.log.Warn("self-check found problems", zap.String("verdict", verdict), zap.Strings("findings", findings), zap.Strings("remedy", remedies))
	}
}

// statusOf converts a report for the status.
func statusOf(r doctor.Report, at time.Time) *status.Doctor {
	out := &status.Doctor{Time: at, Verdict: r.Verdict, Findings: []status.Finding{}}
	for _, f := range r.Findings() {
		out.Findings = append(out.Findings, status.Finding{ID: f.ID, Severity: f.Severity.String(), Seen: f.Seen, Why: f.Why, Mend: f.Remedy})
	}
	return out
}

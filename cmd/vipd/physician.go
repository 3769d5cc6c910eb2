package main

import (
	"context"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/config"
	"github.com/vipd-io/vipd/pkg/doctor"
	"github.com/vipd-io/vipd/pkg/status"
)

const (
	// lookEvery is how often it is seen whether there is trouble.
	lookEvery = 2 * time.Second
	// roundEvery is how often the checks are made while there is trouble, or a finding.
	roundEvery = 10 * time.Second
)

// physician has the doctor's cheap checks made: once vipd has settled, when there is
// trouble and when it has ended, and again while it or a finding lasts. It disturbs
// nobody: those checks read this machine, and ask nobody.
type physician struct {
	board   *status.Board
	examine func(context.Context) (doctor.Report, error)
	log     *zap.Logger

	visits   visits
	told     string // what the log was told last
	failures string
}

// newPhysician is that of a vipd, whose own status is what the doctor goes by.
func newPhysician(c config.Config, board *status.Board, log *zap.Logger) *physician {
	return &physician{board: board, log: log, examine: func(ctx context.Context) (doctor.Report, error) {
		h, err := openHost(c.Addresses[0]) // not the one with which the address is put up
		if err != nil {
			return doctor.Report{}, err
		}
		defer h.close()
		s := board.Status()
		one := &consultation{vip: c.Addresses[0], port: c.Port, link: c.Interface, ca: defaultCA, asked: &s}
		kase, err := one.kase(ctx, h)
		if err != nil {
			return doctor.Report{}, err
		}
		kase.Questions.Cluster = nil // what the API server says, vipd hears anyway
		return doctor.Examine(ctx, kase, doctor.Options{Cheap: true}), nil
	}}
}

// run ends when ctx does.
func (p *physician) run(ctx context.Context) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if p.visits.due(len(p.board.Status().Problems) > 0) {
			p.round(ctx)
		}
	}
}

// visits decides when the checks are made, look by look.
type visits struct {
	looks     int  // since the last time
	done      bool // they were made at least once
	trouble   bool // there was at the last look
	unsettled bool // it came or went at the last look: what follows from it may take a moment
	findings  bool // there were, the last time
}

// due tells whether they are to be made now.
func (v *visits) due(trouble bool) bool {
	v.looks++
	changed := trouble != v.trouble
	v.trouble = trouble
	again := (trouble || v.findings) && v.looks >= int(roundEvery/lookEvery)
	due := !v.done || v.unsettled && !changed || again
	v.unsettled = changed
	if due {
		v.looks, v.done = 0, true
	}
	return due
}

// round makes the checks and tells what they came to.
func (p *physician) round(ctx context.Context) {
	r, err := p.examine(ctx)
	if err != nil {
		if text := err.Error(); text != p.failures && ctx.Err() == nil {
			p.failures = text
			p.log.Warn("the doctor could not look at this machine", zap.Error(err))
		}
		return
	}
	p.failures, p.visits.findings = "", len(r.Findings()) > 0
	d := diagnosisOf(r, p.board.At(boottime.Now()))
	p.board.Tell(func(f *status.Facts) { f.Doctor = d })
	p.tell(r)
}

// tell writes a log line if it is news.
func (p *physician) tell(r doctor.Report) {
	var findings, remedies []string
	for _, f := range r.Findings() {
		findings = append(findings, f.ID+": "+f.Seen)
		remedies = append(remedies, f.ID+": "+f.Mend[0])
	}
	verdict := strings.Join(r.Verdict, " ")
	news := verdict + strings.Join(findings, "\n")
	if news == p.told {
		return
	}
	p.told = news
	worst, found := r.Worst()
	switch {
	case !found:
		p.log.Info("the doctor finds nothing wrong with this machine", zap.String("verdict", verdict))
	case worst == doctor.Error:
		p.log.Error("the doctor finds something wrong", zap.String("verdict", verdict), zap.Strings("findings", findings), zap.Strings("remedy", remedies))
	default:
		p.log.Warn("the doctor finds something", zap.String("verdict", verdict), zap.Strings("findings", findings), zap.Strings("remedy", remedies))
	}
}

// diagnosisOf is a report as the status has it.
func diagnosisOf(r doctor.Report, at time.Time) *status.Doctor {
	out := &status.Doctor{Time: at, Verdict: r.Verdict, Findings: []status.Finding{}}
	for _, f := range r.Findings() {
		out.Findings = append(out.Findings, status.Finding{ID: f.ID, Severity: f.Severity.String(), Seen: f.Seen, Why: f.Why, Mend: f.Mend})
	}
	return out
}

package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/judge/analyse"
	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
)

// patience bounds one episode: several times the duration of the longest fault.
const patience = 4 * time.Minute

// Options configures a run.
type Options struct {
	Seed uint64
	// Faults are the faults that are possible on the lab's nodes. Default: failover.Faults.
	Faults []failover.Fault
	// For is the time in which new rounds begin; 0 means one round.
	For time.Duration
	// Only, if set, are the names of the faults that are taken from each round. Most, if not 0, is
	// the maximum number of these faults.
	Only []string
	Most int
	// Dir is the folder of the report.
	Dir string
	// SaveLogs copies the logs of the lab to a folder. Default: SaveLogs of the lab.
	SaveLogs func(dir string) error
	// Out receives the progress.
	Out io.Writer
}

// A Summary is the result of a run.
type Summary struct {
	Episodes int
	// Kinds counts the faults of each name.
	Kinds map[string]int
	// Failed are the folders of the episodes that broke a rule.
	Failed []string
	// Unproven are the faults without a result after all tries, because the machine was too busy to
	// observe them.
	Unproven []string
	// Watched is the total duration of all episodes, Blind the part of it that was not observed.
	Watched, Blind time.Duration
	// Left describes what should not be there at the end.
	Left []string
}

// OK tells whether no rule was broken, and enough was observed.
func (s Summary) OK() bool { return s.clean() && s.observed() }

// OnlyUnproven tells whether the only failure is that too little was observed.
func (s Summary) OnlyUnproven() bool { return s.clean() && !s.observed() }

func (s Summary) clean() bool { return s.Episodes > 0 && len(s.Failed) == 0 && len(s.Left) == 0 }

// observed tells whether enough faults were observed. On a busy machine, a fault sometimes cannot
// be observed, even if it is tried again. A run is still valid if that applies to one fault in ten
// at most.
func (s Summary) observed() bool { return len(s.Unproven) == 0 || 10*len(s.Unproven) <= len(s.Kinds) }

// tries is the maximum number of tries of a fault of which too little was observed.
const tries = 3

type suite struct {
	Options
	lab     *lab.Lab
	capture *lab.Capture
	sum     Summary
}

// Run injects faults into a lab with vipd on all nodes, and ends vipd there to see what is left. It
// continues after a broken rule. The error means that it could not continue.
func Run(ctx context.Context, l *lab.Lab, o Options) (_ Summary, err error) {
	if o.Faults == nil {
		o.Faults = failover.Faults
	}
	if o.SaveLogs == nil {
		o.SaveLogs = l.SaveLogs
	}
	if err := known(o.Faults, o.Only); err != nil {
		return Summary{}, err
	}
	s := &suite{Options: o, lab: l, sum: Summary{Kinds: make(map[string]int)}}
	defer func() {
		if err != nil || !s.sum.OK() {
			err = errors.Join(err, o.SaveLogs(filepath.Join(o.Dir, logsFolder)))
		}
	}()
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return s.sum, fmt.Errorf("begin report: %w", err)
	}
	if err := saveJSON(filepath.Join(o.Dir, runFile), Header{Seed: o.Seed, Began: time.Now().UTC().Truncate(time.Second), Machine: machine()}); err != nil {
		return s.sum, fmt.Errorf("begin report: %w", err)
	}
	fmt.Fprintf(o.Out, "seed %d, report in %s\n", o.Seed, o.Dir)
	if s.capture, err = l.Capture(ctx); err != nil {
		return s.sum, err
	}
	if err := s.rounds(ctx); err != nil {
		return s.sum, errors.Join(err, s.capture.Stop())
	}
	if err := s.capture.Stop(); err != nil {
		return s.sum, err
	}
	if s.sum.Left, err = Ending(ctx, l); err != nil {
		return s.sum, err
	}
	for _, left := range s.sum.Left {
		fmt.Fprintf(o.Out, "at the end: %s\n", left)
	}
	return s.sum, nil
}

// known returns an error for a name that is in no round. A pair is only in some rounds.
func known(faults []failover.Fault, names []string) error {
	for _, name := range names {
		ofName := func(f failover.Fault) bool { return f.Name == name }
		if name != "none" && !strings.Contains(name, "+") && !slices.ContainsFunc(faults, ofName) {
			return fmt.Errorf("no fault %q is possible on these nodes", name)
		}
	}
	return nil
}

// machine describes the machine of the run.
func machine() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	return "Linux " + strings.TrimSpace(string(release))
}

func (s *suite) rounds(ctx context.Context) error {
	began := record.Now()
	for number := uint64(0); number == 0 || record.Now().Sub(began) < s.For; number++ {
		round := s.chosen(Round(s.Faults, s.Seed, number))
		for i, f := range round {
			if number > 0 && record.Now().Sub(began) >= s.For {
				return nil
			}
			fmt.Fprintf(s.Out, "%3d/%d  ", i+1, len(round))
			if err := s.try(ctx, f); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *suite) chosen(round []failover.Fault) []failover.Fault {
	if len(s.Only) > 0 {
		round = slices.DeleteFunc(round, func(f failover.Fault) bool { return !slices.Contains(s.Only, f.Name) })
	}
	if s.Most > 0 {
		round = round[:min(s.Most, len(round))]
	}
	return round
}

// try repeats one fault until the result is proven.
func (s *suite) try(ctx context.Context, f failover.Fault) error {
	for range tries {
		if unproven, err := s.episode(ctx, f); err != nil || !unproven {
			return err
		}
	}
	s.sum.Unproven = append(s.sum.Unproven, f.Name)
	return nil
}

// episode runs one fault and records the result. An episode that breaks a rule counts, whatever was
// not observed.
func (s *suite) episode(ctx context.Context, f failover.Fault) (unproven bool, err error) {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	o, err := failover.Run(bounded, s.lab, f, func(string, ...any) {})
	if err != nil {
		fmt.Fprintf(s.Out, "%-28s could not be tried\n", f.Name)
		return false, fmt.Errorf("episode %d: %w", s.sum.Episodes+1, err)
	}
	s.sum.Episodes++
	s.sum.Kinds[f.Name]++
	fmt.Fprintf(s.Out, "%-28s %2s -> %-2s  %5.2f s unreachable, %d failed\n", f.Name, o.Holder, o.Next, o.Unreachable.Seconds(), o.Failed)
	dir := filepath.Join(s.Dir, fmt.Sprintf("%04d-%s", s.sum.Episodes, f.Name))
	if err := saveEpisode(dir, o.Episode, o.Verdict); err != nil {
		return false, err
	}
	s.sum.Watched += o.Watched()
	s.sum.Blind += o.Blind()
	if len(o.Gaps) > 0 {
		fmt.Fprintf(s.Out, "         not observed: %s\n", analyse.Sum(o.Gaps))
	}
	if o.AsExpected() {
		if o.Unproven != "" {
			fmt.Fprintf(s.Out, "         nothing is proven: %s\n", o.Unproven)
		}
		return o.Unproven != "", nil
	}
	s.sum.Failed = append(s.sum.Failed, dir)
	for _, v := range o.Violations {
		fmt.Fprintf(s.Out, "         %v\n", v)
	}
	return false, errors.Join(draw(dir, o.Episode, o.Verdict), s.capture.Save(dir))
}

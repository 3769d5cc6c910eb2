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
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/record"
)

// patience bounds one episode: several times what the longest takes.
const patience = 4 * time.Minute

// Options say what to do.
type Options struct {
	Seed uint64
	// For is how long to begin new rounds; 0 is for one round.
	For time.Duration
	// Only, if set, are the names of the faults to take of each round, and Most,
	// if not 0, is how many of them.
	Only []string
	Most int
	// Dir is the folder of the report.
	Dir string
	// Out is told how it goes.
	Out io.Writer
}

// A Summary is what a run came to.
type Summary struct {
	Episodes int
	// Kinds counts the faults of each name.
	Kinds map[string]int
	// Failed are the folders of episodes that broke a rule.
	Failed []string
	// Left is what was found at the end that should not be there.
	Left []string
}

// OK tells whether nothing was wrong.
func (s Summary) OK() bool { return s.Episodes > 0 && len(s.Failed) == 0 && len(s.Left) == 0 }

type suite struct {
	Options
	lab     *lab.Lab
	capture *lab.Capture
	sum     Summary
}

// Run breaks a lab in which vipd runs on all nodes, and ends vipd there to see what
// is left. It goes on after a broken rule. The error is that it could not go on.
func Run(ctx context.Context, l *lab.Lab, o Options) (_ Summary, err error) {
	s := &suite{Options: o, lab: l, sum: Summary{Kinds: make(map[string]int)}}
	defer func() {
		if err != nil || !s.sum.OK() {
			err = errors.Join(err, l.SaveLogs(filepath.Join(o.Dir, logsFolder)))
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

// machine is what it runs on.
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
		round := s.chosen(Round(s.Seed, number))
		for i, f := range round {
			if number > 0 && record.Now().Sub(began) >= s.For {
				return nil
			}
			fmt.Fprintf(s.Out, "%3d/%d  ", i+1, len(round))
			if err := s.episode(ctx, f); err != nil {
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

// episode tries one fault and puts down what came of it.
func (s *suite) episode(ctx context.Context, f failover.Fault) error {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	o, err := failover.Run(bounded, s.lab, f, func(string, ...any) {})
	if err != nil {
		fmt.Fprintf(s.Out, "%-28s could not be tried\n", f.Name)
		return fmt.Errorf("episode %d: %w", s.sum.Episodes+1, err)
	}
	s.sum.Episodes++
	s.sum.Kinds[f.Name]++
	fmt.Fprintf(s.Out, "%-28s %2s -> %-2s  %5.2f s unreachable, %d failed\n", f.Name, o.Holder, o.Next, o.Unreachable.Seconds(), o.Failed)
	dir := filepath.Join(s.Dir, fmt.Sprintf("%04d-%s", s.sum.Episodes, f.Name))
	if err := saveEpisode(dir, o.Episode, o.Violations); err != nil {
		return err
	}
	if len(o.Violations) == 0 {
		return nil
	}
	s.sum.Failed = append(s.sum.Failed, dir)
	for _, v := range o.Violations {
		fmt.Fprintf(s.Out, "         %v\n", v)
	}
	return errors.Join(draw(dir, o.Episode, o.Violations), s.capture.Save(dir))
}

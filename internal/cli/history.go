package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/vipd-io/vipd/internal/ask"
	"github.com/vipd-io/vipd/internal/config"
)

func newHistoryCommand() *cobra.Command {
	q, n := &query{}, 0
	cmd := &cobra.Command{
		Use:   "history",
		Short: "Show the last changes of the holder, with causes and steps",
		Long: `Query the vipd of this node for the changes since its start, and show them as a
log: the newest last, times in UTC, each change with its steps in milliseconds
after the first step.

  taken     this node began to hold the address
  left      this node stopped holding the address
  moved     the holder changed
  repaired  this node restored state that another program had changed
  conflict  another machine claims the address
  refused   the holder refused a requested move
  duration  the holder changed the duration of the Lease
  dark      the address did not answer this node for a while

With --all, merge the histories of all nodes by the nodes' clocks: each node
reports its own observations.

Exit status:
  0   success
  3   unreachable: no answer at --status-address, or one in an unknown schema
  64  usage error`,
	}
	q.flags(cmd)
	cmd.Flags().IntVarP(&n, "number", "n", 20, "number of changes; per node with --all and json or yaml")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if n < 1 {
			return config.UsageError{Err: fmt.Errorf("--number: %d is not greater than 0", n)}
		}
		if err := q.read(cmd, os.Environ()); err != nil {
			return err
		}
		s := newScreen(cmd.OutOrStdout(), q.color)
		text, notes, err := q.history(cmd.Context(), s, n)
		for _, note := range notes {
			fmt.Fprintf(cmd.ErrOrStderr(), "vipd: %s\n", note)
		}
		return finish(s, text, err)
	}
	return cmd
}

// history returns the text of `vipd history`, and notes about nodes without an answer.
func (q *query) history(ctx context.Context, s *screen, n int) (text string, notes []string, err error) {
	all := []ask.Answer{{Address: q.address}}
	if q.all {
		all = ask.Everywhere(ctx, q.address, ask.HistoryPath)
	} else {
		all[0].Get(ctx, ask.HistoryPath)
	}
	if all[0].Err != nil && (q.output == "text" || !q.all) {
		return "", nil, unreachable(all[0])
	}
	if q.output == "text" {
		for _, one := range all[1:] {
			if one.Err != nil {
				notes = append(notes, noAnswer(one))
			}
		}
		width, _ := s.size()
		return renderHistory(mergeHistories(all, n), q.all, width, s.colour), notes, nil
	}
	for i := range all {
		if all[i].Err == nil {
			all[i].Raw, all[i].Err = truncateHistory(all[i].Raw, n)
		}
	}
	exit := error(nil)
	if all[0].Err != nil {
		exit = exitError{status: exitUnreachable}
	}
	if q.all {
		text, err = renderDocument(combine(all, ask.HistoryPath), q.output, exit)
	} else {
		text, err = renderDocument(json.RawMessage(all[0].Raw), q.output, exit)
	}
	return text, nil, err
}

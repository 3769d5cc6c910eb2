package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func newHistoryCommand() *cobra.Command {
	a, n := &asking{}, 0
	cmd := &cobra.Command{
		Use:   "history",
		Short: "Show the last changes: who took the address, when, why, and step by step",
		Long: `Ask the vipd of this node for what changed since it was started, and show it as a log: the newest
last, times in UTC, each change with its steps in milliseconds after the first.

  taken     this node began to hold the address
  left      this node ended holding it
  moved     another node holds it than before
  repaired  this node put right what somebody else had changed
  conflict  another machine claims the address
  refused   a move was asked for that was not made
  dark      the address did not answer this node for a while

With --all the histories of all nodes are one, in the order of the nodes' own clocks: each node
tells of a move as it saw it.

Exit status: 0; 3 if there is no answer at --status-address, or none that this vipd understands; 64
for a mistake in how the command was called.`,
	}
	a.flags(cmd)
	cmd.Flags().IntVarP(&n, "number", "n", 20, "how many changes to show; of each node with --all and json or yaml")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if n < 1 {
			return usageError{fmt.Errorf("--number: %d is not above 0", n)}
		}
		if err := a.read(cmd, os.Environ()); err != nil {
			return err
		}
		s := newScreen(cmd.OutOrStdout(), a.color)
		text, notes, err := a.history(cmd.Context(), s, n)
		for _, note := range notes {
			fmt.Fprintf(cmd.ErrOrStderr(), "vipd: %s\n", note)
		}
		return finish(s, text, err)
	}
	return cmd
}

// history is what to show, and what is missing in it.
func (a *asking) history(ctx context.Context, s *screen, n int) (text string, notes []string, err error) {
	all := []answer{{Address: a.address}}
	if a.all {
		all = everywhere(ctx, a.address, historyPath)
	} else {
		all[0].get(ctx, historyPath)
	}
	if all[0].Err != nil && (a.output == "text" || !a.all) {
		return "", nil, unreachable(all[0])
	}
	if a.output == "text" {
		for _, one := range all[1:] {
			if one.Err != nil {
				notes = append(notes, silence(one))
			}
		}
		width, _ := s.size()
		return renderHistory(merged(all, n), a.all, width, s.colour), notes, nil
	}
	for i := range all {
		if all[i].Err == nil {
			all[i].Raw, all[i].Err = newest(all[i].Raw, n)
		}
	}
	exit := error(nil)
	if all[0].Err != nil {
		exit = exitError{status: exitUnreachable}
	}
	if a.all {
		text, err = document(inOne(all, historyPath), a.output, exit)
	} else {
		text, err = document(json.RawMessage(all[0].Raw), a.output, exit)
	}
	return text, nil, err
}

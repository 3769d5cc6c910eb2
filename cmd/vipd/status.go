package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vipd-io/vipd/pkg/config"
	"github.com/vipd-io/vipd/pkg/status"
)

// asking is what the commands that ask for documents have in common.
type asking struct {
	address string // where to ask
	all     bool
	output  string
	color   string
}

func (a *asking) flags(cmd *cobra.Command) {
	cmd.Annotations = asks
	cmd.Flags().SortFlags = false
	addSettings(cmd, []string{"status-address"})
	cmd.Flags().Lookup("status-address").Usage = "host:port to ask, as vipd run has it"
	cmd.Flags().BoolVar(&a.all, "all", false, "ask every node that the one at --status-address knows of")
	cmd.Flags().StringVarP(&a.output, "output", "o", "text", "text, json or yaml")
	cmd.Flags().StringVar(&a.color, "color", "auto", "auto, always or never; auto heeds NO_COLOR")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usageError{fmt.Errorf("%s takes flags only, not %q", cmd.Name(), args[0])}
		}
		return nil
	}
}

// read takes in the flags, and VIPD_STATUS_ADDRESS: in vipd's container it is set.
func (a *asking) read(cmd *cobra.Command, environ []string) error {
	values, _, errs := readSettings(cmd, environ)
	listens, err := config.ParseStatusAddress(values)
	errs = append(errs, err)
	if err == nil && listens == "" {
		errs = append(errs, errors.New("--status-address: off: vipd does not tell its status, so there is nothing to ask"))
	}
	if !slices.Contains([]string{"text", "json", "yaml"}, a.output) {
		errs = append(errs, fmt.Errorf("--output: %q is not one of text, json, yaml", a.output))
	}
	if !slices.Contains([]string{"auto", "always", "never"}, a.color) {
		errs = append(errs, fmt.Errorf("--color: %q is not one of auto, always, never", a.color))
	}
	if err := errors.Join(errs...); err != nil {
		return usageError{err}
	}
	a.address = reachable(listens)
	return nil
}

func newStatusCommand() *cobra.Command {
	a, watch := &asking{}, false
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show who holds the address, and what is wrong",
		Long: `Ask the vipd of this node who holds the address, and show it with this node's role, the API
servers, the last outage and the last changes. On a node without a vipd command:

  crictl exec $(crictl ps -q --name vipd) /vipd status

With --all it asks the other nodes, too, at the hosts of their API servers and the same port, and
compares what they say. By default vipd's status listens on loopback only: set vipd run's
--status-address to :2112 on all nodes for that. Everybody who reaches that port can read it.

Exit status:
  0   healthy
  1   degraded: the address is held, and something should be looked at; with --all also if a
      node does not answer, or the answers do not fit together
  2   no holder
  3   unreachable: no answer at --status-address, or none that this vipd understands
  64  a mistake in how the command was called`,
	}
	a.flags(cmd)
	cmd.Flags().BoolVar(&watch, "watch", false, "show it anew every second, until Ctrl-C")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := a.read(cmd, os.Environ()); err != nil {
			return err
		}
		s := newScreen(cmd.OutOrStdout(), a.color)
		if watch {
			return a.watch(cmd.Context(), s)
		}
		text, err := a.status(cmd.Context(), s)
		return finish(s, text, err)
	}
	return cmd
}

// finish shows what there is, and returns how to end.
func finish(s *screen, text string, err error) error {
	if failed := s.show(text); failed != nil {
		return exitError{failed, exitUnreachable}
	}
	return err
}

// status is what to show, and how `vipd status` is to end, if not well.
func (a *asking) status(ctx context.Context, s *screen) (string, error) {
	width, _ := s.size()
	if a.all {
		return a.statusOfAll(ctx, width, s.colour)
	}
	one := answer{Address: a.address}
	one.get(ctx, statusPath)
	if one.Err != nil {
		return "", unreachable(one)
	}
	exit := ended(exitOf(one.Status))
	if a.output != "text" {
		return document(json.RawMessage(one.Raw), a.output, exit)
	}
	var h *status.History
	past := answer{Address: a.address}
	if past.get(ctx, historyPath); past.Err == nil {
		h = &past.History
	}
	return renderStatus(one.Status, h, width, s.colour), exit
}

func (a *asking) statusOfAll(ctx context.Context, width int, colour bool) (string, error) {
	all := everywhere(ctx, a.address, statusPath)
	exit := ended(exitOfAll(all))
	if a.output != "text" {
		return document(inOne(all, statusPath), a.output, exit)
	}
	if all[0].Err != nil {
		return "", unreachable(all[0])
	}
	return renderAll(all, width, colour), exit
}

// document is one as text, and how to end.
func document(v any, output string, exit error) (string, error) {
	text, err := encode(v, output)
	if err != nil {
		return "", exitError{err, exitUnreachable}
	}
	return text, exit
}

// ended is nil for a status of 0.
func ended(status int) error {
	if status == exitOK {
		return nil
	}
	return exitError{status: status}
}

// watchPause is the time between two looks.
const watchPause = time.Second

// watch shows the status until ctx ends, and ends as the last look would have.
func (a *asking) watch(ctx context.Context, s *screen) error {
	var last error
	ticker := time.NewTicker(watchPause)
	defer ticker.Stop()
	for {
		text, err := a.status(ctx, s)
		if ctx.Err() != nil {
			return last
		}
		last = err
		if exit := (exitError{}); errors.As(err, &exit) && exit.error != nil {
			text, last = notice(exit.Error(), s), exitError{status: exit.status} // it is said here
		}
		if err := s.redraw(text); err != nil {
			return exitError{err, exitUnreachable}
		}
		select {
		case <-ctx.Done():
			return last
		case <-ticker.C:
		}
	}
}

// notice is an error in the place of a status.
func notice(text string, s *screen) string {
	width, _ := s.size()
	p := &page{width: width, colour: s.colour}
	for line := range strings.SplitSeq(text, "\n") {
		for _, l := range wrap(line, width) {
			p.line(word{l, red})
		}
	}
	return p.b.String()
}

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/vipd-io/vipd/internal/ask"
	"github.com/vipd-io/vipd/internal/config"
	"github.com/vipd-io/vipd/internal/status"
)

// query holds the flags of the commands that query status servers.
type query struct {
	address string // of the status server
	all     bool
	output  string
	color   string
}

func (q *query) flags(cmd *cobra.Command) {
	cmd.Annotations = askExits
	cmd.Flags().SortFlags = false
	addSettings(cmd, []string{"status-address"})
	cmd.Flags().Lookup("status-address").Usage = "host:port of the status server, as of vipd run"
	cmd.Flags().BoolVar(&q.all, "all", false, "query all nodes that the node at --status-address knows")
	cmd.Flags().StringVarP(&q.output, "output", "o", "text", "text, json or yaml")
	cmd.Flags().StringVar(&q.color, "color", "auto", "auto, always or never; auto respects NO_COLOR")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return config.UsageError{Err: fmt.Errorf("%s takes flags only, not %q", cmd.Name(), args[0])}
		}
		return nil
	}
}

// read evaluates the flags, and VIPD_STATUS_ADDRESS, which is set in vipd's container.
func (q *query) read(cmd *cobra.Command, environ []string) error {
	values, _, errs := readSettings(cmd, environ)
	listens, err := config.ParseStatusAddress(values)
	errs = append(errs, err)
	if err == nil && listens == "" {
		errs = append(errs, errors.New("--status-address: off: the status server is disabled"))
	}
	if !slices.Contains([]string{"text", "json", "yaml"}, q.output) {
		errs = append(errs, fmt.Errorf("--output: %q is not one of text, json, yaml", q.output))
	}
	if !slices.Contains([]string{"auto", "always", "never"}, q.color) {
		errs = append(errs, fmt.Errorf("--color: %q is not one of auto, always, never", q.color))
	}
	if err := errors.Join(errs...); err != nil {
		return config.UsageError{Err: err}
	}
	q.address = ask.Reachable(listens)
	return nil
}

func newStatusCommand() *cobra.Command {
	q, watch := &query{}, false
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the holder of the address, and problems",
		Long: `Query the vipd of this node, and show the holder of the address, the state of
this node, problems, the API servers, the last outage and the last changes. On
a node without a vipd command:

  crictl exec $(crictl ps -q --name vipd) /vipd status

With --all, also query the other nodes, at the hosts of their API servers and
the same port, and compare their statuses. By default, the status server
listens on loopback only: for --all, set --status-address of vipd run to :2112
on all nodes. Every host that reaches this port can read the status.

Exit status:
  0   healthy
  1   degraded: the address is held, but there are problems; with --all also if
      a node does not answer, or if the statuses contradict each other
  2   no holder
  3   unreachable: no answer at --status-address, or one in an unknown schema
  64  usage error`,
	}
	q.flags(cmd)
	cmd.Flags().BoolVar(&watch, "watch", false, "refresh every second, until Ctrl-C")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := q.read(cmd, os.Environ()); err != nil {
			return err
		}
		s := newScreen(cmd.OutOrStdout(), q.color)
		if watch {
			return q.watch(cmd.Context(), s)
		}
		out, err := q.status(cmd.Context(), s)
		return finish(s, out, err)
	}
	return cmd
}

// finish shows a text and returns the error that ends the command.
func finish(s *screen, out string, err error) error {
	if failed := s.show(out); failed != nil {
		return exitError{failed, exitUnreachable}
	}
	return err
}

// status returns the text of `vipd status`, and an exitError unless the status is healthy.
func (q *query) status(ctx context.Context, s *screen) (string, error) {
	width, _ := s.size()
	if q.all {
		return q.statusOfAll(ctx, width, s.colour)
	}
	one := ask.Answer{Address: q.address}
	one.Get(ctx, ask.StatusPath)
	if one.Err != nil {
		return "", unreachable(one)
	}
	exit := exitWith(exitOf(one.Status))
	if q.output != "text" {
		return renderDocument(json.RawMessage(one.Raw), q.output, exit)
	}
	var h *status.History
	past := ask.Answer{Address: q.address}
	if past.Get(ctx, ask.HistoryPath); past.Err == nil {
		h = &past.History
	}
	return renderStatus(one.Status, h, width, s.colour), exit
}

func (q *query) statusOfAll(ctx context.Context, width int, colour bool) (string, error) {
	all := ask.Everywhere(ctx, q.address, ask.StatusPath)
	exit := exitWith(exitOfAll(all))
	if q.output != "text" {
		return renderDocument(combine(all, ask.StatusPath), q.output, exit)
	}
	if all[0].Err != nil {
		return "", unreachable(all[0])
	}
	return renderAll(all, width, colour), exit
}

// renderDocument returns a document as text, and the error that ends the command.
func renderDocument(v any, output string, exit error) (string, error) {
	out, err := encode(v, output)
	if err != nil {
		return "", exitError{err, exitUnreachable}
	}
	return out, exit
}

// exitWith returns the exitError of an exit status, or nil for 0.
func exitWith(status int) error {
	if status == exitOK {
		return nil
	}
	return exitError{status: status}
}

// watchInterval is the interval of --watch.
const watchInterval = time.Second

// watch shows the status until ctx ends. The last status determines the exit status.
func (q *query) watch(ctx context.Context, s *screen) error {
	var last error
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		frame, err := q.status(ctx, s)
		if ctx.Err() != nil {
			return last
		}
		last = err
		if exit := (exitError{}); errors.As(err, &exit) && exit.error != nil {
			frame, last = renderError(exit.Error(), s), exitError{status: exit.status} // the frame has the message
		}
		if err := s.redraw(frame); err != nil {
			return exitError{err, exitUnreachable}
		}
		select {
		case <-ctx.Done():
			return errors.Join(s.finish(), last)
		case <-ticker.C:
		}
	}
}

// renderError renders an error as a frame.
func renderError(message string, s *screen) string {
	width, _ := s.size()
	p := &page{width: width, colour: s.colour}
	for line := range strings.SplitSeq(message, "\n") {
		p.paragraph("", 0, text.FgRed, line)
	}
	return p.b.String()
}

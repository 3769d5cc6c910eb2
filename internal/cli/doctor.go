package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/vipd-io/vipd/internal/ask"
	"github.com/vipd-io/vipd/internal/config"
	"github.com/vipd-io/vipd/internal/doctor"
	"github.com/vipd-io/vipd/internal/doctor/gather"
	"github.com/vipd-io/vipd/internal/status"
)

// doctorCommand holds the flags of vipd doctor.
type doctorCommand struct {
	gather.Request
	worker, preflight bool
	opts              doctor.Options
	output, color     string
}

func newDoctorCommand() *cobra.Command {
	c := &doctorCommand{}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Explain why the VIP does not work, and how to fix it",
		Long: `Check this machine, and the hosts that it reaches, for causes that keep the VIP
from working.

The doctor changes nothing, and sends nothing that could move traffic. The
checks take 5 seconds at most (35 with --slow; --timeout for busy machines),
and need CAP_NET_RAW for ARP probes. The vipd on this node supplies the VIP;
without a vipd, use --address.

Exit status:
  0   no problems
  1   warnings
  2   errors
  64  usage error`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return config.UsageError{Err: fmt.Errorf("doctor takes flags or `explain ID`, not %q", args[0])}
			}
			return nil
		},
		Annotations: askExits,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.read(cmd, os.Environ()); err != nil {
				return config.UsageError{Err: err}
			}
			if c.Slow && newScreen(cmd.ErrOrStderr(), c.color).ansi {
				fmt.Fprintf(cmd.ErrOrStderr(), "listening for %.0f s for claims of %s ...\n", gather.ListenFor.Seconds(), c.VIP)
			}
			return c.examine(cmd.Context(), newScreen(cmd.OutOrStdout(), c.color))
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	addSettings(cmd, []string{"address", "port", "interface", "status-address"})
	f.Lookup("address").Usage = "virtual IP address to check (default: of the vipd on this node)"
	f.Lookup("status-address").Usage = "host:port of the status server of the vipd on this node"
	f.StringVar(&c.Name, "name", "", "DNS name of the VIP (default: the server name in kubelet's kubeconfig)")
	f.StringVar(&c.CA, "ca", "", "CA certificate of the cluster, to identify the cluster (default: of kubeadm, RKE2 or k3s)")
	f.BoolVar(&c.worker, "worker", false, "check a node that is only a client of the VIP")
	f.BoolVar(&c.preflight, "preflight", false, "check a control-plane node before kubeadm")
	f.StringVar(&c.Management, "management-kubeconfig", "", "kubeconfig of a management cluster: check its objects instead of this machine")
	f.StringVar(&c.Cluster, "cluster", "", "NAMESPACE/NAME of the cluster there (default: the only cluster)")
	f.StringSliceVar(&c.opts.Only, "only", nil, "run only these checks, such as D01,D14")
	f.StringSliceVar(&c.opts.Skip, "skip", nil, "skip these checks")
	f.BoolVar(&c.Slow, "slow", false, "also listen for claims of the VIP for 30 s")
	f.DurationVar(&c.Timeout, "timeout", gather.DefaultTimeout, "time limit without --slow, from 1s to 10m; later answers count as no answer")
	f.StringVarP(&c.output, "output", "o", "text", "text, json or yaml")
	f.StringVar(&c.color, "color", "auto", "auto, always or never; auto respects NO_COLOR")
	cmd.AddCommand(newExplainCommand())
	return cmd
}

// read evaluates the flags, the environment of vipd's container, and the status of the vipd on
// this node.
func (c *doctorCommand) read(cmd *cobra.Command, environ []string) error {
	values, _, errs := readSettings(cmd, environ)
	c.Mode = c.mode()
	if c.worker && c.preflight {
		errs = append(errs, errors.New("--worker, --preflight: mutually exclusive"))
	}
	if c.Management != "" && (c.worker || c.preflight) {
		errs = append(errs, errors.New("--management-kubeconfig checks no machine: remove --worker and --preflight"))
	}
	for _, id := range append(slices.Clone(c.opts.Only), c.opts.Skip...) {
		if _, err := doctor.ByID(id); err != nil {
			errs = append(errs, fmt.Errorf("--only, --skip: %w", err))
		}
	}
	if c.Timeout < time.Second || c.Timeout > 10*time.Minute {
		errs = append(errs, fmt.Errorf("--timeout: %s is not between 1s and 10m", c.Timeout))
	}
	if !slices.Contains([]string{"text", "json", "yaml"}, c.output) {
		errs = append(errs, fmt.Errorf("--output: %q is not one of text, json, yaml", c.output))
	}
	listens, err := config.ParseStatusAddress(values)
	if errs = append(errs, err); errors.Join(errs...) != nil {
		return errors.Join(errs...)
	}
	if c.Management != "" && len(values["address"]) == 0 {
		return nil // the cluster has the address
	}
	if listens != "" && c.Mode == doctor.Node {
		c.StatusAddress = ask.Reachable(listens)
		c.askVipd(cmd.Context(), values)
	}
	if len(values["address"]) == 0 {
		return errors.New("--address: missing, and no vipd on this node answered: pass the virtual IP address")
	}
	return c.settings(values)
}

// askVipd completes the settings from the vipd on this node.
func (c *doctorCommand) askVipd(ctx context.Context, values config.Values) {
	ctx, cancel := context.WithTimeout(ctx, c.Scale(ask.Timeout))
	defer cancel()
	var s status.Status
	if _, err := ask.Document(ctx, c.StatusAddress, "/status", &s); err != nil {
		return // a check reports a vipd that does not answer
	}
	for _, name := range []string{"address", "port", "interface"} {
		if v := s.Configuration[name]; len(values[name]) == 0 && v != "" {
			values[name] = []string{v}
		}
	}
	c.Status = &s
}

func (c *doctorCommand) settings(values config.Values) error {
	values["kubeconfig"] = []string{"unused"} // required by config.Parse
	parsed, err := config.Parse(values)
	if err != nil {
		return err
	}
	c.VIP, c.Port, c.Interface = parsed.Addresses[0], parsed.Port, parsed.Interface
	return nil
}

func (c *doctorCommand) mode() doctor.Mode {
	switch {
	case c.worker:
		return doctor.Worker
	case c.preflight:
		return doctor.Preflight
	case c.Management != "":
		return doctor.Management
	}
	return doctor.Node
}

// examine runs the checks and prints the report. The findings determine the exit status.
func (c *doctorCommand) examine(ctx context.Context, s *screen) error {
	host, err := gather.OpenHost(c.VIP)
	if err != nil {
		return err
	}
	defer host.Close()
	input, err := c.Input(ctx, host)
	if err != nil {
		return err
	}
	input.Queries.Guest, input.Queries.Profile = c.Guest(ctx), gather.Profile // not in the daemon, which starts no process
	c.opts.Timeout = c.Scale(doctor.DefaultTimeout)
	if c.Slow {
		c.opts.ListenTime = gather.ListenFor
	}
	report := doctor.Examine(ctx, input, c.opts)
	out := renderReport(report, s.page())
	if c.output != "text" {
		if out, err = encode(report, c.output); err != nil {
			return err
		}
	}
	if err := s.show(out); err != nil {
		return err
	}
	if worst, found := report.Worst(); found && worst > doctor.Info {
		return exitError{status: int(worst)} // 1 for warnings, 2 for errors
	}
	return nil
}

// renderReport renders a report as text: the verdict, the findings, the most severe first, and
// the checks that could not run.
func renderReport(r doctor.Report, p *page) string {
	for _, v := range r.Verdict {
		p.paragraph("", 0, plain, v)
	}
	for _, f := range r.Findings() {
		p.finding(f)
	}
	for _, res := range r.Results {
		if res.Unknown != "" {
			p.gap()
			p.paragraph("", 0, plain, fmt.Sprintf("UNKNOWN %s %s: could not check: %s", res.ID, res.Title, res.Unknown))
		}
	}
	if n := len(r.Findings()); n > 0 {
		p.gap()
		p.paragraph("", 0, plain, fmt.Sprintf("%s, %s. For details: vipd doctor explain %s", count(len(r.Results), "check"), count(n, "finding"), r.Findings()[0].ID))
	}
	return p.b.String()
}

// severityColours are the colours of severities.
var severityColours = map[doctor.Severity]text.Color{doctor.Info: text.FgCyan, doctor.Warning: text.FgYellow, doctor.Error: text.FgRed}

// finding writes one finding. Remedies are not wrapped: the operator copies commands from them.
func (p *page) finding(f doctor.Finding) {
	p.gap()
	p.paragraph("", 0, plain, fmt.Sprintf("%s %s %s", p.paint(severityColours[f.Severity], strings.ToUpper(f.Severity.String())), f.ID, title(f.ID)))
	p.paragraph("  seen", 8, plain, f.Seen)
	p.paragraph("  why", 8, plain, f.Why)
	head := "  fix"
	for _, m := range f.Remedy {
		p.b.WriteString(text.Pad(head, 8, ' ') + m + "\n")
		head = ""
	}
}

func title(id string) string {
	c, err := doctor.ByID(id)
	if err != nil {
		return ""
	}
	return c.Title
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

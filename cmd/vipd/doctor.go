package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vipd-io/vipd/pkg/config"
	"github.com/vipd-io/vipd/pkg/doctor"
	"github.com/vipd-io/vipd/pkg/status"
)

// defaultCA is where kubeadm puts the certificate of the cluster's CA.
const defaultCA = "/etc/kubernetes/pki/ca.crt"

// consultation is how vipd doctor was called.
type consultation struct {
	name, ca          string
	worker, preflight bool
	// management is a kubeconfig; cluster is "namespace/name", "" for the only one.
	management, cluster string
	opts                doctor.Options
	output, color       string

	vip       netip.Addr
	port      uint16
	link      string
	asked     *status.Status // of the vipd on this node, nil if there is none
	listening string
}

func newDoctorCommand() *cobra.Command {
	c := &consultation{}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say why the VIP does not work, and what mends it",
		Long: `Look for what keeps the VIP from working: on this machine, and from here.

Nothing is changed, and nothing is sent that could move traffic. It takes five
seconds at most (--slow: 35), and needs CAP_NET_RAW for what it asks by ARP. What it is about, it
learns from the vipd on this node; where there is none, give --address.

Exit status: 0 all is well, 1 there are warnings, 2 there are errors, 64 a mistake
in how it was called.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("doctor takes flags, and `explain ID`, not %q", args[0])}
			}
			return nil
		},
		Annotations: asks,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.read(cmd, os.Environ()); err != nil {
				return usageError{err}
			}
			if c.opts.Slow && newScreen(cmd.ErrOrStderr(), c.color).terminal {
				fmt.Fprintf(cmd.ErrOrStderr(), "listening for %.0f s who claims %s ...\n", overhearFor.Seconds(), c.vip)
			}
			return c.examine(cmd.Context(), newScreen(cmd.OutOrStdout(), c.color))
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	addSettings(cmd, []string{"address", "port", "interface", "status-address"})
	f.Lookup("address").Usage = "virtual IP address that it is about (default: that of the vipd on this node)"
	f.Lookup("status-address").Usage = "host:port at which the vipd on this node tells its status"
	f.StringVar(&c.name, "name", "", "DNS name of the VIP (default: that of the server in kubelet's kubeconfig, if it is a name)")
	f.StringVar(&c.ca, "ca", defaultCA, "certificate of the cluster's CA, to know the cluster by")
	f.BoolVar(&c.worker, "worker", false, "this node is a client of the VIP only")
	f.BoolVar(&c.preflight, "preflight", false, "this is a control-plane node before kubeadm")
	f.StringVar(&c.management, "management-kubeconfig", "", "look at the objects of the management cluster instead of at this machine")
	f.StringVar(&c.cluster, "cluster", "", "NAMESPACE/NAME of the cluster there (default: the only one)")
	f.StringSliceVar(&c.opts.Only, "only", nil, "checks to make, such as D01,D14")
	f.StringSliceVar(&c.opts.Skip, "skip", nil, "checks to leave out")
	f.BoolVar(&c.opts.Slow, "slow", false, "listen for 30 s who claims the VIP, as well")
	f.StringVarP(&c.output, "output", "o", "text", "text, json or yaml")
	f.StringVar(&c.color, "color", "auto", "auto, always or never; auto heeds NO_COLOR")
	cmd.AddCommand(newExplainCommand())
	return cmd
}

// read takes in flags, the environment of vipd's container, and what the vipd on this
// node says of itself.
func (c *consultation) read(cmd *cobra.Command, environ []string) error {
	values, _, errs := readSettings(cmd, environ)
	if c.worker && c.preflight {
		errs = append(errs, errors.New("--worker, --preflight: which of the two?"))
	}
	if c.management != "" && (c.worker || c.preflight) {
		errs = append(errs, errors.New("--management-kubeconfig looks at no machine: leave --worker and --preflight out"))
	}
	for _, id := range append(slices.Clone(c.opts.Only), c.opts.Skip...) {
		if _, err := doctor.ByID(id); err != nil {
			errs = append(errs, fmt.Errorf("--only, --skip: %w", err))
		}
	}
	if !slices.Contains([]string{"text", "json", "yaml"}, c.output) {
		errs = append(errs, fmt.Errorf("--output: %q is not one of text, json, yaml", c.output))
	}
	listens, err := config.ParseStatusAddress(values)
	if errs = append(errs, err); errors.Join(errs...) != nil {
		return errors.Join(errs...)
	}
	if c.management != "" && len(values["address"]) == 0 {
		return nil // the cluster tells it
	}
	if listens != "" && c.mode() == doctor.Node {
		c.listening = reachable(listens)
		c.ask(cmd.Context(), values)
	}
	if len(values["address"]) == 0 {
		return errors.New("--address: missing, and no vipd on this node could be asked: the virtual IP address that it is about")
	}
	return c.settings(values)
}

// ask fills in what was not set from the vipd on this node.
func (c *consultation) ask(ctx context.Context, values config.Values) {
	var s status.Status
	if _, err := ask(ctx, c.listening, "/status", &s); err != nil {
		return // that it does not answer is for a check to say
	}
	for _, name := range []string{"address", "port", "interface"} {
		if v := s.Configuration[name]; len(values[name]) == 0 && v != "" {
			values[name] = []string{v}
		}
	}
	c.asked = &s
}

func (c *consultation) settings(values config.Values) error {
	values["kubeconfig"] = []string{"unused"} // all settings are validated together
	parsed, err := config.Parse(values)
	if err != nil {
		return err
	}
	c.vip, c.port, c.link = parsed.Addresses[0], parsed.Port, parsed.Interface
	return nil
}

func (c *consultation) mode() doctor.Mode {
	switch {
	case c.worker:
		return doctor.Worker
	case c.preflight:
		return doctor.Preflight
	case c.management != "":
		return doctor.Management
	}
	return doctor.Node
}

// examine does it, and ends by what was found.
func (c *consultation) examine(ctx context.Context, s *screen) error {
	host, err := openHost(c.vip)
	if err != nil {
		return err
	}
	defer host.close()
	kase, err := c.kase(ctx, host)
	if err != nil {
		return err
	}
	kase.Questions.Guest, kase.Questions.Profile = guestTold(ctx), profile // not in the daemon, which starts no process
	report := doctor.Examine(ctx, kase, c.opts)
	text := renderReport(report, s.colour)
	if c.output != "text" {
		if text, err = encode(report, c.output); err != nil {
			return err
		}
	}
	if err := s.show(text); err != nil {
		return err
	}
	if worst, found := report.Worst(); found && worst > doctor.Info {
		return exitError{status: int(worst)} // 1 for warnings, 2 for errors
	}
	return nil
}

// renderReport shows a report to a person: the verdict, what was found, the worst
// first, and what could not be looked at.
func renderReport(r doctor.Report, colour bool) string {
	var b strings.Builder
	for _, v := range r.Verdict {
		fmt.Fprintln(&b, v)
	}
	for _, f := range r.Findings() {
		fmt.Fprintf(&b, "\n%s %s %s\n", paintSeverity(f.Severity, colour), f.ID, title(f.ID))
		fmt.Fprintf(&b, "  seen  %s\n  why   %s\n", f.Seen, f.Why)
		for i, m := range f.Mend {
			fmt.Fprintf(&b, "  %-4s  %s\n", map[bool]string{true: "mend"}[i == 0], m)
		}
	}
	for _, res := range r.Results {
		if res.Unknown != "" {
			fmt.Fprintf(&b, "\nUNKNOWN %s %s: could not look: %s\n", res.ID, res.Title, res.Unknown)
		}
	}
	if n := len(r.Findings()); n > 0 {
		fmt.Fprintf(&b, "\n%s, %s. `vipd doctor explain %s` says more.\n", counted(len(r.Results), "check"), counted(n, "finding"), r.Findings()[0].ID)
	}
	return b.String()
}

func title(id string) string {
	c, err := doctor.ByID(id)
	if err != nil {
		return ""
	}
	return c.Title
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

func paintSeverity(s doctor.Severity, colour bool) string {
	text := strings.ToUpper(s.String())
	if !colour {
		return text
	}
	return map[doctor.Severity]string{doctor.Info: "\x1b[36m", doctor.Warning: "\x1b[33m", doctor.Error: "\x1b[31m"}[s] + text + "\x1b[0m"
}

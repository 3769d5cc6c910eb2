package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/screen"
	"github.com/vipd-io/vipd/e2e/suites/doctor"
)

// demoDoctorFaults are the faults of the demo of the doctor.
var demoDoctorFaults = []string{"gateway", "firewall", "stranger"}

func newDemoDoctor(out *os.File) *cobra.Command {
	return &cobra.Command{
		Use:   "demo-doctor",
		Short: "Show what vipd doctor says of three faults that are really made",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s := screen.New(out)
			s.Line("Starting three control-plane nodes: real etcd and kube-apiserver %s, and vipd.", lab.KubernetesVersion())
			return lab.With(cmd.Context(), failover.LabOptions, func(l *lab.Lab) error { return demoDoctor(cmd.Context(), s, l) })
		},
	}
}

func demoDoctor(ctx context.Context, s *screen.Screen, l *lab.Lab) error {
	site, err := doctor.New(ctx, l)
	if err != nil {
		return err
	}
	s.Line("\n%s", s.Bold("All is well"))
	if err := runDoctor(ctx, s, site, l.Nodes[0].Host, nil); err != nil {
		return err
	}
	for i, name := range demoDoctorFaults {
		f, err := doctor.ByName(name)
		if err != nil {
			return err
		}
		s.Line("\n%s", s.Bold(fmt.Sprintf("%d. %s", i+1, f.Title)))
		s.Line("   What people see: %s", f.Seen)
		if err := showFault(ctx, s, site, f); err != nil {
			return err
		}
	}
	s.Line("\nMended again. Ending the lab; nothing of it stays on this machine.")
	return nil
}

// show makes a fault, runs the doctor, and undoes the fault.
func showFault(ctx context.Context, s *screen.Screen, site *doctor.Site, f doctor.Fault) (err error) {
	undo, on, args, err := f.Make(ctx, site)
	if undo != nil {
		defer func() { err = errors.Join(err, undo(context.WithoutCancel(ctx))) }()
	}
	if err != nil {
		return err
	}
	return runDoctor(ctx, s, site, on, args)
}

func runDoctor(ctx context.Context, s *screen.Screen, site *doctor.Site, on *lab.Host, args []string) error {
	text, exit, err := site.Consult(ctx, on, args...)
	if err != nil {
		return err
	}
	s.Line("   %s$ vipd doctor %s", on.Name, strings.Join(args, " "))
	for line := range strings.Lines(text) {
		s.Line("   | %s", strings.TrimRight(line, "\n"))
	}
	s.Line("   exit status %d", exit)
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/lab"
)

// demoFaults are the faults of the demo.
var demoFaults = []string{"sigterm", "apikill", "sigkill", "poweroff"}

func newDemo(out *os.File) *cobra.Command {
	var keep bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show what a client sees when the holder fails in four ways",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return demo(cmd.Context(), newScreen(out), keep) },
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "leave the lab running and print how to look around in it")
	return cmd
}

func demo(ctx context.Context, s *screen, keep bool) (err error) {
	bin, err := lab.Build(ctx, lab.BuildOptions{Progress: os.Stderr})
	if err != nil {
		return err
	}
	notice := time.AfterFunc(time.Second, func() { s.line("Waiting for another lab on this machine to end: they share the processors.") })
	release, err := lab.Exclusive(ctx)
	notice.Stop()
	if err != nil {
		return err
	}
	defer release()
	s.line("Starting three control-plane nodes: real etcd and kube-apiserver %s, and vipd.", lab.KubernetesVersion())
	l, err := lab.Start(ctx, lab.Options{Binaries: bin})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := failover.Start(l); err != nil {
		return err
	}
	stop := s.follow(ctx, l)
	defer stop()
	broken := 0
	for i, name := range demoFaults {
		f, err := failover.ByName(name)
		if err != nil {
			return err
		}
		s.line("")
		s.line("%s", s.bold(fmt.Sprintf("%d. To the holder: %s", i+1, f.Title)))
		s.line("   %s", f.Note)
		began := time.Now()
		o, err := failover.Run(ctx, l, f, func(format string, args ...any) {
			s.line("   %5.2f s  %s", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
		})
		if err != nil {
			return err
		}
		seen := see(o)
		s.verdict(seen)
		broken += len(seen.broken)
	}
	stop()
	s.line("")
	if broken > 0 {
		return errBroken
	}
	if !keep {
		s.line("Ending the lab; nothing of it stays on this machine.")
		return nil
	}
	describe(s.out, l)
	n := l.Nodes[0]
	s.line("  watch it move   ip netns exec %s ip -4 monitor address", n.NS.Name)
	s.line("  its fence       ip netns exec %s nft list ruleset", n.NS.Name)
	s.line("  end a vipd      kill PID, of one above")
	s.line("  start it again  ip netns exec %s %s/vipd run --address %s --node-name %s --kubeconfig %s --status-address :2112 --log-format console",
		n.NS.Name, l.Dir, l.VIP, n.Name, n.Kubeconfig())
	s.line("\nThe lab stays until:  hack/lab down %s", l.Name)
	return l.Keep()
}

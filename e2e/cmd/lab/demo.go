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
	"github.com/vipd-io/vipd/e2e/screen"
)

// demoFaults are the faults of the demo.
var demoFaults = []string{"sigterm", "apikill", "sigkill", "poweroff"}

func newDemo(out *os.File) *cobra.Command {
	var keep bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show what a client sees when the holder fails in four ways",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return demo(cmd.Context(), screen.New(out), keep) },
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "leave the lab running and print how to look around in it")
	return cmd
}

func demo(ctx context.Context, s *screen.Screen, keep bool) (err error) {
	bin, err := lab.Build(ctx, lab.BuildOptions{Progress: os.Stderr})
	if err != nil {
		return err
	}
	notice := time.AfterFunc(time.Second, func() { s.Line("Waiting for another lab on this machine to end: they share the processors.") })
	release, err := lab.Exclusive(ctx)
	notice.Stop()
	if err != nil {
		return err
	}
	defer release()
	s.Line("Starting three control-plane nodes: real etcd and kube-apiserver %s, and vipd.", lab.KubernetesVersion())
	l, err := lab.Start(ctx, lab.Options{Binaries: bin})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := failover.Start(l); err != nil {
		return err
	}
	stop := s.Follow(ctx, func() string { return holders(s, l) })
	defer stop()
	broken := 0
	for i, name := range demoFaults {
		f, err := failover.ByName(name)
		if err != nil {
			return err
		}
		s.Line("")
		s.Line("%s", s.Bold(fmt.Sprintf("%d. To the holder: %s", i+1, f.Title)))
		s.Line("   %s", f.Note)
		began := time.Now()
		o, err := failover.Run(ctx, l, f, func(format string, args ...any) {
			s.Line("   %5.2f s  %s", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
		})
		if err != nil {
			return err
		}
		seen := see(o)
		verdict(s, seen)
		broken += len(seen.broken)
	}
	stop()
	s.Line("")
	if broken > 0 {
		return errBroken
	}
	if !keep {
		s.Line("Ending the lab; nothing of it stays on this machine.")
		return nil
	}
	describe(s.Out, l)
	n := l.Nodes[0]
	s.Line("  watch it move   ip netns exec %s ip -4 monitor address", n.NS.Name)
	s.Line("  its fence       ip netns exec %s nft list ruleset", n.NS.Name)
	s.Line("  end a vipd      kill PID, of one above")
	s.Line("  start it again  ip netns exec %s %s/vipd run --address %s --node-name %s --kubeconfig %s --status-address :2112 --log-format console",
		n.NS.Name, l.Dir, l.VIP, n.Name, n.Kubeconfig())
	s.Line("\nThe lab stays until:  hack/lab down %s", l.Name)
	return l.Keep()
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/vipd-io/vipd/e2e/lab"
)

func newUp(out io.Writer) *cobra.Command {
	var opts upOptions
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a lab, and end it at Ctrl-C",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return up(cmd.Context(), out, opts) },
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.name, "name", "", "name of the lab (default random)")
	flags.BoolVar(&opts.keep, "keep", false, "leave the lab running and return; `lab down` ends it")
	flags.BoolVar(&opts.vipd, "vipd", true, "build vipd and start it on all nodes")
	return cmd
}

type upOptions struct {
	name string
	keep bool
	vipd bool
}

func up(ctx context.Context, out io.Writer, opts upOptions) (err error) {
	begin := time.Now()
	bin, err := lab.Build(ctx, lab.BuildOptions{Progress: os.Stderr, ControlPlaneOnly: !opts.vipd})
	if err != nil {
		return err
	}
	l, err := lab.Start(ctx, lab.Options{
		Name:     opts.name,
		Binaries: bin,
		Progress: func(what string) { fmt.Fprintf(out, "%5.1fs  %s\n", time.Since(begin).Seconds(), what) },
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if opts.vipd {
		for _, n := range l.Nodes {
			if err := n.StartVipd(); err != nil {
				return err
			}
		}
	}
	fmt.Fprintf(out, "%5.1fs  lab %s is up\n\n", time.Since(begin).Seconds(), l.Name)
	describe(out, l)
	if opts.keep {
		fmt.Fprintf(out, "\nIt stays until `lab down %s`.\n", l.Name)
		return l.Keep()
	}
	fmt.Fprintln(out, "\nCtrl-C ends it.")
	<-ctx.Done()
	fmt.Fprintln(out, "ending the lab")
	return nil
}

// describe prints how to look around.
func describe(out io.Writer, l *lab.Lab) {
	for _, n := range l.Nodes {
		fmt.Fprintf(out, "  %-3s %-15s %s  etcd %d, kube-apiserver %d", n.Name, n.IP, n.MAC, n.Etcd.Pid(), n.APIServer.Pid())
		if n.Vipd.Running() {
			fmt.Fprintf(out, ", vipd %d", n.Vipd.Pid())
		}
		fmt.Fprintln(out)
	}
	for _, c := range append(slices.Clone(l.Clients), l.Observer) {
		fmt.Fprintf(out, "  %-3s %-15s %s  client\n", c.Name, c.IP, c.MAC)
	}
	first, client := l.Nodes[0], l.Clients[0]
	fmt.Fprintf(out, `
  VIP           %s, port %d
  in a node     ip netns exec %s ip addr
  as a client   ip netns exec %s curl --cacert %s https://%s:%d/version
  kubeconfig    %s
  logs          %s/*/*.log
`, l.VIP, lab.Port, first.NS.Name, client.NS.Name, first.CAFile(), l.VIP, lab.Port, first.Kubeconfig(), l.Dir)
	if first.Vipd.Running() {
		fmt.Fprintf(out, "  who has it    ip netns exec %[1]s %[2]s status --all [--watch]\n  what changed  ip netns exec %[1]s %[2]s history --all\n",
			first.NS.Name, first.VipdBinary())
	}
}

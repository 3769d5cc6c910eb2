// Manygroups is `vipd run` for several groups of addresses, each with a Lease of its own.
// The flags of vipd cannot ask for that yet. The test of it is in e2e/suites/status.
//
//	manygroups NODE KUBECONFIG ADDRESS[,ADDRESS...]=LEASE ...
package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/internal/config"
	"github.com/vipd-io/vipd/internal/daemon"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(node, kubeconfig string, groups []string) error {
	var specs []daemon.GroupSpec
	for _, g := range groups {
		addresses, lease, _ := strings.Cut(g, "=")
		spec := daemon.GroupSpec{Namespace: "kube-system", Lease: lease}
		for address := range strings.SplitSeq(addresses, ",") {
			a, err := netip.ParseAddr(address)
			if err != nil {
				return err
			}
			spec.Addresses = append(spec.Addresses, a)
		}
		specs = append(specs, spec)
	}
	c, err := config.Parse(config.Values{"address": {specs[0].Addresses[0].String()}, "node-name": {node}, "kubeconfig": {kubeconfig}, "status-address": {":2113"}})
	if err != nil {
		return err
	}
	log, err := zap.NewProduction()
	if err != nil {
		return err
	}
	ctx, end := context.WithCancel(context.Background())
	defer end()
	now, signals := make(chan struct{}), make(chan os.Signal, 2)
	signal.Notify(signals, unix.SIGTERM)
	go func() {
		<-signals
		end()
		<-signals
		close(now)
	}()
	return daemon.RunGroups(ctx, daemon.Ends{Now: now}, c, specs, log)
}

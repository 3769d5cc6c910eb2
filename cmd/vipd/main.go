// Command vipd keeps a virtual IP address on one node of a Kubernetes control
// plane. This package wires the others together and holds no logic of its own.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/vipd-io/vipd/internal/cli"
)

func main() {
	// The first signal ends vipd in order. A later one has its default action, unless the command takes it.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(cli.Execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

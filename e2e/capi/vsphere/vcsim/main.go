// Command vcsim is a vCenter that govmomi simulates, with an inventory like that of a user of
// Cluster API: a template, a folder, a resource pool, a datastore and a network. No machine runs in
// it; an HTTP server says which machines would run, and whoever runs them says what their
// addresses are.
//
//	vcsim VCENTER-ADDRESS HTTP-ADDRESS
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "vcsim:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want VCENTER-ADDRESS HTTP-ADDRESS, got %q", args)
	}
	v, err := newVCenter(ctx, args[0])
	if err != nil {
		return fmt.Errorf("make inventory: %w", err)
	}
	return http.ListenAndServe(args[1], v.handler())
}

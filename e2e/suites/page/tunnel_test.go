package page

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/vipd-io/vipd/e2e/lab"
)

// status is the address of vipd's status in the node's network namespace.
const status = "127.0.0.1:2112"

// tunnel forwards a port of this machine to a node's status, like `kubectl port-forward`, and
// returns the address of the page. Without a vipd, connections end at once.
func tunnel(t *testing.T, n *lab.Node) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var open sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		open.Wait()
	})
	open.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return // the listener was closed
			}
			open.Go(func() { join(ctx, near, n) })
		}
	})
	return "http://" + l.Addr().String() + "/"
}

// join copies between the two ends until one of them, or ctx, ends.
func join(ctx context.Context, near net.Conn, n *lab.Node) {
	defer near.Close()
	far, err := n.NS.Dial(ctx, "tcp", status)
	if err != nil {
		return
	}
	defer far.Close()
	ctx, ended := context.WithCancel(ctx)
	defer ended()
	defer context.AfterFunc(ctx, func() { near.Close(); far.Close() })()
	var ways sync.WaitGroup
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		ways.Go(func() {
			defer ended()
			_, _ = io.Copy(way[0], way[1])
		})
	}
	ways.Wait()
}

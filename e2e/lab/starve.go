package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// throttlePeriod is the period of the kernel's CPU quotas (cpu.cfs_period_us).
const throttlePeriod = 100 * time.Millisecond

// Throttle lets a daemon run for a share of each period only, until ctx ends, by stopping it for
// the rest: a CPU quota without a control group.
func Throttle(ctx context.Context, p Daemon, share float64) (err error) {
	defer func() {
		if _, resumed := p.Resume(); resumed != nil && !errors.Is(resumed, ErrNotRunning) {
			err = errors.Join(err, resumed)
		}
	}()
	run := time.Duration(float64(throttlePeriod) * share)
	for {
		if _, err := p.Pause(); err != nil {
			return err
		}
		if wait.For(ctx, throttlePeriod-run) != nil {
			return nil
		}
		if _, err := p.Resume(); err != nil {
			return err
		}
		if wait.For(ctx, run) != nil {
			return nil
		}
	}
}

// SyncStorm makes writers continuously sync a few kilobytes each to the disk of etcd's data, until
// ctx ends.
func (l *Lab) SyncStorm(ctx context.Context, writers int) error {
	var g errgroup.Group
	for range writers {
		g.Go(func() error { return l.syncs(ctx) })
	}
	return g.Wait()
}

func (l *Lab) syncs(ctx context.Context) error {
	f, err := os.CreateTemp(l.Dir, "storm")
	if err != nil {
		return fmt.Errorf("make file: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, 64<<10)
	for offset := int64(0); ctx.Err() == nil; offset = (offset + int64(len(block))) % (16 << 20) {
		if _, err := f.WriteAt(block, offset); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		if err := f.Sync(); err != nil {
			return fmt.Errorf("sync: %w", err)
		}
	}
	return nil
}

// Overload makes clients continuously fetch the OpenAPI document of the node's API server, each time
// over a new connection, until ctx ends. Errors are ignored.
func (n *Node) Overload(ctx context.Context, clients int) error {
	config, err := n.RESTConfig("admin.conf")
	if err != nil {
		return err
	}
	var g errgroup.Group
	for range clients {
		client, err := rest.HTTPClientFor(rest.CopyConfig(config))
		if err != nil {
			return fmt.Errorf("make client: %w", err)
		}
		g.Go(func() error {
			for ctx.Err() == nil {
				fetch(ctx, client, config.Host+"/openapi/v2")
				client.CloseIdleConnections()
			}
			return nil
		})
	}
	return g.Wait()
}

func fetch(ctx context.Context, client *http.Client, url string) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return
	}
	resp, err := client.Do(req)
	if err != nil {
		_ = wait.For(ctx, 100*time.Millisecond)
		return
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
}

// Package daemon is the process of `vipd run`: it wires the failover core, passes events between
// its parts, and ends the parts in order.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/internal/config"
	"github.com/vipd-io/vipd/internal/version"
	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/netif"
	"github.com/vipd-io/vipd/pkg/vip"
)

// Run runs the group of the control plane, see RunGroups.
func Run(ctx context.Context, ends Ends, c config.Config, log *zap.Logger) error {
	return RunGroups(ctx, ends, c, []GroupSpec{controlPlane(c)}, log)
}

// RunGroups runs at least one group with the rest of the configuration, until ctx ends or a part
// fails. The error is a config.UsageError for a configuration that cannot work. The parts end in
// this order:
//
//	signal -> the Manager of each group waits for the next holder (see Ends), withdraws, confirms,
//	gives back -> all other parts end -> the fences are removed
func RunGroups(ctx context.Context, ends Ends, c config.Config, groups []GroupSpec, log *zap.Logger) (err error) {
	if err := checkGroups(groups); err != nil {
		return config.UsageError{Err: err}
	}
	timing, err := election.NewTiming(c.LeaseDuration, c.RenewInterval)
	if err != nil {
		return config.UsageError{Err: err}
	}
	if c.Fence == config.FenceLifetime {
		if err := lifetimeSuffices(timing); err != nil {
			return config.UsageError{Err: err}
		}
	}
	handle, err := netif.Open(0)
	if err != nil {
		return fmt.Errorf("open netlink (needs CAP_NET_ADMIN): %w", err)
	}
	defer handle.Close()
	observer, networks := newNetworks(handle, groups, log.Named("network"))
	log.Info("starting", zap.String("version", version.String()), zap.String("node", c.Node), zap.Stringer("vip", groups[0].Addresses[0]),
		zap.String("apiserver", c.APIServer), zap.String("lease", groups[0].Namespace+"/"+groups[0].Lease),
		zap.Duration("lease_duration", timing.Lease), zap.Duration("renew_interval", timing.Renew))
	// If there is no kube-vip, go on even if ctx has ended: what an earlier process left has to be
	// removed (see lock).
	if alone, err := awaitNoKubeVip(ctx, c.Manifests, log); err != nil || !alone {
		return err
	}
	unlock, err := lockAll(ctx, groups, log)
	if err != nil || unlock == nil {
		return err
	}
	defer func() {
		// A call that hangs may add the address after this process has returned: the next vipd
		// waits until the kernel has closed everything of this process.
		if withdrawn(err) {
			unlock()
		}
	}()
	for _, network := range networks {
		network.sweep()
	}
	fences, err := openFences(c, groups, timing, log)
	if err != nil {
		return err
	}
	n, err := newNode(c, timing, groups, observer, networks, fences, log)
	if err != nil {
		return err
	}
	defer n.close()
	if err = n.run(ctx, ends); withdrawn(err) {
		err = errors.Join(err, removeFences(fences))
	}
	if err == nil {
		log.Info("stopped")
	}
	return err
}

// inOrder runs all functions. The managers end when ctx ends, or when any function fails. The
// parts end after all managers, which need the parts for their own end. The error contains those
// of all functions.
func inOrder(ctx context.Context, parts, managers []func(context.Context) error) error {
	manage, stop := context.WithCancel(ctx)
	defer stop()
	partsCtx, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	run := func(ctx context.Context, functions []func(context.Context) error) func() error {
		failed, all := make([]error, len(functions)), sync.WaitGroup{}
		for i, f := range functions {
			all.Go(func() {
				if failed[i] = f(ctx); failed[i] != nil {
					stop()
				}
			})
		}
		return func() error { all.Wait(); return errors.Join(failed...) }
	}
	partsEnded, managersEnded := run(partsCtx, parts), run(manage, managers)
	err := managersEnded()
	end()
	return errors.Join(err, partsEnded())
}

// withdrawn tells whether no address of this process can be on the node any more, whatever
// else went wrong.
func withdrawn(err error) bool {
	return !errors.Is(err, vip.ErrNotWithdrawn) && !errors.Is(err, vip.ErrTimeout)
}

package netif

import (
	"context"
	"errors"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// receiveBuffer holds the messages of a node on which hundreds of pods start at
// once; what overflows it all the same is noticed, see Watch.
const receiveBuffer = 1 << 20

// Watch calls changed whenever a link or an address changed, and once after it
// could have missed a change. changed must not block; it is told that something
// changed, not what, so that a lost message costs nothing: look again. Watch
// returns nil when ctx ends.
func (h *Handle) Watch(ctx context.Context, log *zap.Logger, changed func()) error {
	for ctx.Err() == nil {
		began := boottime.Now()
		err := h.watch(ctx, changed)
		if ctx.Err() != nil {
			break
		}
		// One that lasted may be lost to a full buffer, or to a program that
		// sends to the kernel's groups (vishvananda/netlink does, to list what
		// exists when it subscribes): nothing to wake somebody for.
		level := zap.DebugLevel
		if boottime.Now().Sub(began) < time.Second {
			level = zap.WarnLevel
		}
		log.Log(level, "netlink subscription lost, subscribing again", zap.Error(err))
		changed()
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}

var errSubscriptionEnded = errors.New("subscription ended")

// watch runs until ctx ends or one of the subscriptions does.
func (h *Handle) watch(ctx context.Context, changed func()) error {
	done := make(chan struct{})
	lost := make(chan error, 2)
	failed := func(err error) {
		select {
		case lost <- err:
		default:
		}
	}
	addrs := make(chan netlink.AddrUpdate, 64)
	links := make(chan netlink.LinkUpdate, 64)
	// The library's goroutines end when done is closed, and close the channels
	// behind them; one that is blocked on a channel needs it drained.
	open := 0
	defer func() {
		close(done)
		if open > 0 {
			drain(addrs)
		}
		if open > 1 {
			drain(links)
		}
	}()
	err := netlink.AddrSubscribeWithOptions(addrs, done, netlink.AddrSubscribeOptions{
		Namespace: h.ns, ErrorCallback: failed, ReceiveBufferSize: receiveBuffer})
	if err != nil {
		return err
	}
	open++
	err = netlink.LinkSubscribeWithOptions(links, done, netlink.LinkSubscribeOptions{
		Namespace: h.ns, ErrorCallback: failed, ReceiveBufferSize: receiveBuffer})
	if err != nil {
		return err
	}
	open++
	changed() // what happened before the subscription
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-lost:
			return err
		case _, ok := <-addrs:
			if !ok {
				return errSubscriptionEnded
			}
		case _, ok := <-links:
			if !ok {
				return errSubscriptionEnded
			}
		}
		changed()
	}
}

func drain[T any](ch <-chan T) {
	for range ch {
	}
}

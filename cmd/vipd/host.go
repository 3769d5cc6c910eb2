package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// bootID tells this boot of the machine from others, "" where /proc is hidden.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// lock keeps a second vipd for the same address from running in this network
// namespace: the name of an abstract unix socket, which the kernel frees when
// the process is gone, however it went. It waits for the other one to end, as
// during an upgrade; unlock is nil if ctx ended first.
func lock(ctx context.Context, vip netip.Addr, log *zap.Logger) (unlock func(), err error) {
	name := "@vipd-" + vip.String()
	// At least once, however early the wish to end came: what an earlier process
	// left here is then still taken away in order.
	for told, ended := false, false; !ended; told, ended = true, ctx.Err() != nil {
		l, err := (&net.ListenConfig{}).Listen(context.WithoutCancel(ctx), "unix", name)
		if err == nil {
			return func() { _ = l.Close() }, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		if !told {
			log.Warn("another vipd holds the lock for this address on this node, waiting for it to end", zap.String("lock", name))
		}
		awaitEnd(ctx, name)
	}
	return nil, nil
}

// awaitEnd returns when the process that listens on name ends, or ctx does. It
// never accepts; the connection breaks when its socket goes.
func awaitEnd(ctx context.Context, name string) {
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", name)
	if err != nil {
		return // gone in the meantime
	}
	defer func() { _ = c.Close() }()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	_, _ = io.Copy(io.Discard, c)
}

package arp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Overheard is a claim, and when it was heard.
type Overheard struct {
	Claim
	At boottime.Instant
}

// maxOverheard bounds what a flood leaves in memory.
const maxOverheard = 4096

// Overhear listens for as long as it is told to, or until ctx ends, for claims of addr
// that others make, and sends nothing. Of more than maxOverheard it has the first.
func Overhear(ctx context.Context, index int, addr netip.Addr, long time.Duration) ([]Overheard, error) {
	conn, err := tap(index, []netip.Addr{addr})
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	listening, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	defer context.AfterFunc(listening, func() { _ = conn.SetReadDeadline(past) })()
	var out []Overheard
	frame := make([]byte, 256)
	for len(out) < maxOverheard {
		n, _, err := conn.ReadFrom(frame)
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			return out, nil
		}
		if err != nil {
			return out, fmt.Errorf("listen for claims of %s: %w", addr, err)
		}
		if c, ok := Parse(frame[:n]); ok && c.Addr == addr {
			c.MAC = slices.Clone(c.MAC)
			out = append(out, Overheard{c, boottime.Now()})
		}
	}
	return out, nil
}

package arp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vipd-io/vipd/pkg/announce"
	"github.com/vipd-io/vipd/pkg/boottime"
)

// TimedClaim is a claim, At the instant when it was heard.
type TimedClaim struct {
	announce.Claim
	At boottime.Instant
}

// maxCollected bounds the memory that a flood can use.
const maxCollected = 4096

// CollectClaims listens for the given duration, or until ctx ends, for claims of addr by other machines,
// and sends nothing. If there are more than maxCollected claims, CollectClaims returns the first ones.
func CollectClaims(ctx context.Context, index int, addr netip.Addr, long time.Duration) ([]TimedClaim, error) {
	conn, err := tap(index, []netip.Addr{addr})
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	listening, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	defer context.AfterFunc(listening, func() { _ = conn.SetReadDeadline(past) })()
	var out []TimedClaim
	frame := make([]byte, 256)
	for len(out) < maxCollected {
		n, _, err := conn.ReadFrom(frame)
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			return out, nil
		}
		if err != nil {
			return out, fmt.Errorf("listen for claims of %s: %w", addr, err)
		}
		if c, ok := Parse(frame[:n]); ok && c.Addr == addr {
			c.MAC = slices.Clone(c.MAC)
			out = append(out, TimedClaim{c, boottime.Now()})
		}
	}
	return out, nil
}

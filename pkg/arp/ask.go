package arp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/packet"
)

const (
	// askTimes probes are sent, askGap apart, and the last probe has the same time to be answered.
	// RFC 5227 section 1.1 has three probes as well, one or two seconds apart, for networks of
	// 2008.
	askTimes = 3
	askGap   = 300 * time.Millisecond
)

// Ask asks which machines have addr, from an interface with the given MAC, and returns their MACs
// in the order of their first answers: none, one, or several that do not know of each other. The
// frames are probes: they claim nothing and change nothing. The kernel of this host does not answer
// them. Ask returns after enough answers; 0 waits for all answers. Ask takes a second at most.
func Ask(ctx context.Context, index int, mac net.HardwareAddr, addr netip.Addr, enough int) ([]net.HardwareAddr, error) {
	return AskAs(ctx, index, mac, netip.IPv4Unspecified(), addr, enough)
}

// AskAs is Ask in the name of a host: the frames are the requests that the kernel of this host sends
// before it sends to addr. A router with proxy ARP answers only these (Linux: net/ipv4/arp.c,
// arp_process). sender has to be an address of this host.
func AskAs(ctx context.Context, index int, mac net.HardwareAddr, sender, addr netip.Addr, enough int) ([]net.HardwareAddr, error) {
	return ask(ctx, index, mac, sender, netip.Addr{}, addr, enough)
}

// ask is AskAs, and ignores answers to the questions of another sender, if other is valid.
func ask(ctx context.Context, index int, mac net.HardwareAddr, sender, other, addr netip.Addr, enough int) ([]net.HardwareAddr, error) {
	conn, err := tap(index, []netip.Addr{addr})
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	question, err := frame(arp.OperationRequest, mac, sender, make(net.HardwareAddr, len(mac)), addr)
	if err != nil {
		return nil, err
	}
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(asking, func() { _ = conn.SetDeadline(past) })()
	sent := make(chan error, 1)
	go func() { // ends with asking
		defer cancel()
		sent <- sendProbes(asking, conn, question)
	}()
	answers, err := collect(conn, addr, other, enough)
	cancel()
	// After an incomplete question, silence means nothing.
	if err = errors.Join(err, <-sent, ctx.Err()); err != nil && (enough == 0 || len(answers) < enough) {
		return answers, fmt.Errorf("ask who has %s: %w", addr, err)
	}
	return answers, nil
}

// sendProbes sends askTimes probes, and waits for answers to the last one.
func sendProbes(ctx context.Context, conn *packet.Conn, question []byte) error {
	for range askTimes {
		if _, err := conn.WriteTo(question, &packet.Addr{HardwareAddr: ethernet.Broadcast}); err != nil {
			return fmt.Errorf("send probe: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(askGap):
		}
	}
	return nil
}

// past is a read deadline in the past, which ends a read.
var past = time.Unix(1, 0)

// collect reads until there are enough answers, or until the read deadline.
func collect(conn *packet.Conn, addr, other netip.Addr, enough int) (answers []net.HardwareAddr, err error) {
	frame := make([]byte, 256)
	for enough == 0 || len(answers) < enough {
		n, _, err := conn.ReadFrom(frame)
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			return answers, nil
		}
		if err != nil {
			return answers, fmt.Errorf("read answers: %w", err)
		}
		c, ok := Parse(frame[:n])
		known := slices.ContainsFunc(answers, func(m net.HardwareAddr) bool { return m.String() == c.MAC.String() })
		if ok && c.Addr == addr && !known && (!c.Answers || c.To != other) {
			answers = append(answers, slices.Clone(c.MAC))
		}
	}
	return answers, nil
}

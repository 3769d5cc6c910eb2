package nstest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
)

// Patience is how long an answer may take on a busy machine.
const Patience = 10 * time.Second

// Exchange is one kind of question. Answer returns when one more question was answered; with
// os.ErrDeadlineExceeded after Patience.
type Exchange struct{ Ask, Answer func() error }

// Flow asks without a pause, with at most 32 questions unanswered, which no buffer of a socket
// drops: so a question without an answer was lost. The returned function ends the flow.
func Flow(t testing.TB, e Exchange) (end func() (asked, lost int)) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	open := make(chan struct{}, 32)
	var asked, answered int
	var running sync.WaitGroup
	running.Go(func() {
		defer close(open)
		for {
			select {
			case <-ctx.Done():
				return
			case open <- struct{}{}:
				asked++
				if err := e.Ask(); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	running.Go(func() {
		for range open {
			err := e.Answer()
			if err == nil {
				answered++
				continue
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
			}
			stop()
			return
		}
	})
	return func() (int, int) {
		stop()
		running.Wait()
		return asked, asked - answered
	}
}

// Pings returns echo requests from an address of the namespace; the kernel at the other end answers
// them.
func (ns *NS) Pings(from, to string) Exchange {
	ns.t.Helper()
	var c *icmp.PacketConn
	if err := ns.Do(func() (err error) { c, err = icmp.ListenPacket("ip4:icmp", from); return err }); err != nil {
		ns.t.Fatalf("open a socket for pings: %v", err)
	}
	ns.t.Cleanup(func() { _ = c.Close() })
	m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: 35}}
	request, err := m.Marshal(nil)
	if err != nil {
		ns.t.Fatal(err)
	}
	dst := &net.IPAddr{IP: netip.MustParseAddr(to).AsSlice()}
	buf := make([]byte, 1500)
	return Exchange{
		Ask: func() error { _, err := c.WriteTo(request, dst); return err },
		Answer: func() error {
			if err := c.SetReadDeadline(time.Now().Add(Patience)); err != nil {
				return err
			}
			for {
				n, _, err := c.ReadFrom(buf)
				if err != nil || n > 0 && buf[0] == byte(ipv4.ICMPTypeEchoReply) {
					return err
				}
			}
		},
	}
}

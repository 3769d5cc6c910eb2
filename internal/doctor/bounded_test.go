package doctor

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vipd-io/vipd/internal/bubble"
	"github.com/vipd-io/vipd/pkg/boottime"
)

// TestExamineIsBounded: Examine ends after its timeout if no query is ever answered.
func TestExamineIsBounded(t *testing.T) {
	for _, c := range []struct {
		opts Options
		want time.Duration
	}{
		{Options{}, 4 * time.Second},
		{Options{Timeout: time.Minute}, time.Minute},
		{Options{ListenTime: 30 * time.Second}, 34 * time.Second},
	} {
		for _, mode := range []Mode{Node, Worker, Preflight} {
			bubble.Test(t, func(t *testing.T) {
				began := time.Now()
				Examine(t.Context(), mute(mode), c.opts)
				if took := time.Since(began); took > c.want || took < c.want/2 {
					t.Errorf("mode %d, %+v: took %s, want no more than %s, and not much less", mode, c.opts, took, c.want)
				}
			})
		}
	}
}

// mute returns the input of a machine without answers to any query.
func mute(mode Mode) *Input {
	wait := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	gateway := netip.MustParseAddr("192.168.35.1")
	return &Input{
		Mode: mode,
		Facts: Facts{
			VIP: vip, Port: 6443, Name: "vip.test", VipdAnswered: true, NodeName: "n1",
			Links:     []Link{{Name: "eth0", Index: 2, Up: true}},
			Addresses: []Address{{Prefix: netip.MustParsePrefix("192.168.35.11/24"), Index: 2}},
			Routes:    []Route{{Destination: netip.MustParsePrefix("0.0.0.0/0"), Gateway: gateway, Index: 2}},
		},
		Queries: Queries{
			// No answer: arp.Ask has a bound of its own. The query does not block, because a
			// check that waits for the sync.Once stops fake time.
			AskARP: func(context.Context, Link, netip.Addr, int) ([]net.HardwareAddr, error) { return nil, nil },
			Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return nil, wait(ctx)
			},
			Resolvers: func() ([]netip.AddrPort, error) { return []netip.AddrPort{netip.AddrPortFrom(gateway, 53)}, nil },
			Lookup:    func(ctx context.Context, _ string) ([]netip.Addr, error) { return nil, wait(ctx) },
			Sysctl:    func(string) (string, error) { return "0", nil },
			KubeVip:   func() (string, error) { return "", nil },
			Clock:     func() (bool, time.Duration, error) { return true, 0, nil },
			Slew:      func() (boottime.PPM, error) { return 0, nil },
			Cluster:   func(ctx context.Context) (*Cluster, error) { return nil, wait(ctx) },
			Peers:     func(ctx context.Context) (Peers, error) { return Peers{}, wait(ctx) },
			Guest:     func(ctx context.Context) (*Guest, error) { return nil, wait(ctx) },
			Profile:   func(ctx context.Context, _ Link) (*Managed, error) { return nil, wait(ctx) },
			Now:       time.Now,
		},
	}
}

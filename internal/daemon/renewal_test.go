package daemon

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
	kernel "github.com/vipd-io/vipd/pkg/fence"
	"github.com/vipd-io/vipd/pkg/vip"
)

// BenchmarkRenewal measures the cost of a renewal on this node, from Arm before the write until the
// Manager has handled the answer: with real nftables, interface and observer, and a lease of 3 s
// that is renewed each second. The seconds pass on the fake clock only.
func BenchmarkRenewal(b *testing.B) {
	const hold, renew = 2650 * time.Millisecond, time.Second
	ns, n, _ := observedNetwork(b)
	usable(b, n)
	f := kernel.New(kernel.Options{Table: "vipd-bench", Groups: [][]netip.Addr{n.addresses}, Sources: []kernel.Source{kernel.Lease}, NetNS: ns.Fd()})
	if err := f.Prepare(); err != nil {
		b.Fatal(err)
	}
	fence := newNftFence(f)
	var passed atomic.Int64
	now := func() boottime.Instant { return boottime.Instant(time.Hour) + boottime.Instant(passed.Load()) }
	claimHeard := make(chan string, 100)
	m := vip.New(vip.Options{Node: "n1", Network: n, Fence: fence, Announcer: noCollaborators{}, Election: noCollaborators{}, Now: now,
		Observe: func(r vip.Report) { claimHeard <- r.State.Serving.Why }})
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	for b.Loop() {
		passed.Add(int64(renew))
		until := now().Add(hold)
		ticket, err := fence.arm(hold)
		if err != nil {
			b.Fatal(err)
		}
		m.Granted(vip.Grant{Held: true, Known: true, Term: 1, Until: until, Ticket: ticket, Holder: "n1", Confirmed: now()})
		behind := until.Sub(0).String() // the last event of a renewal
		m.Serves(vip.Serving{Local: vip.Ready, Why: behind})
		for behind != <-claimHeard {
		}
	}
	stop()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	f.Close()
}

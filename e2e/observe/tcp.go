package observe

import (
	"context"
	"net/netip"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
)

// TCP opens a connection to the VIP every 10 ms, whatever happened to earlier ones, and closes it. The
// kernel of the node that has the VIP accepts a connection, however busy the API server is.
type TCP struct {
	ns     *lab.Namespace
	target netip.AddrPort
}

// NewTCP returns a client in the namespace.
func NewTCP(ns *lab.Namespace, target netip.AddrPort) *TCP { return &TCP{ns: ns, target: target} }

// Run opens connections. After ctx has ended it waits for those in flight, up to their timeout.
func (c *TCP) Run(ctx context.Context, to *record.Recorder, ready func()) error {
	return often(ctx, record.RequestInterval, to, ready, c.connect)
}

func (c *TCP) connect(start record.Time) record.Request {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	conn, err := c.ns.Dial(ctx, "tcp", c.target.String())
	r := record.Request{Start: start, End: record.Now()}
	if err != nil {
		r.Err = err.Error()
		return r
	}
	if err := conn.Close(); err != nil {
		r.Err = err.Error()
	}
	return r
}

// Apart is an observer whose records go into a recorder of its own: so the requests of two clients stay
// apart.
type Apart struct {
	Observer
	To *record.Recorder
}

// Run runs the observer until ctx ends.
func (a Apart) Run(ctx context.Context, _ *record.Recorder, ready func()) error {
	return a.Observer.Run(ctx, a.To, ready)
}

// Package observe watches a VIP from outside: who answers for it, which node
// has it, and whether a client gets through. It records and does not judge;
// that is package analyse.
package observe

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/record"
)

// An Observer records what it sees until ctx ends. Run calls ready once, when
// nothing will be missed any more. It returns when nothing of it is left; its
// error is nil if ctx was all that ended it.
type Observer interface {
	Run(ctx context.Context, to *record.Recorder, ready func()) error
}

// Observers run together.
type Observers []Observer

// Outside returns what watches a lab without knowing what manages the VIP: an
// HTTPS client in c1, an ARP prober in c2, and an address monitor on each node.
func Outside(l *lab.Lab) (Observers, error) {
	client, err := forClient(l)
	if err != nil {
		return nil, err
	}
	obs := Observers{client, &ARP{NS: l.Clients[1].NS, Interface: lab.Interface, VIP: lab.VIP}}
	for _, n := range l.Nodes {
		obs = append(obs, &Addresses{NS: n.NS, Node: n.Name, VIP: lab.VIP})
	}
	return obs, nil
}

// ForLab returns what watches vipd's lab: besides, a client in c1 that lies idle, a
// watch of the Lease on each node, and the ARP tables of the hosts that do nothing
// else.
func ForLab(l *lab.Lab) (Observers, error) {
	client, err := forClient(l)
	if err != nil {
		return nil, err
	}
	obs, err := Outside(l)
	if err != nil {
		return nil, err
	}
	obs = append(obs, NewIdle(client))
	for _, n := range l.Nodes {
		obs = append(obs, &Lease{Node: n})
	}
	for _, h := range l.Listeners() {
		obs = append(obs, &Neighbour{Host: h, VIP: lab.VIP})
	}
	return obs, nil
}

func forClient(l *lab.Lab) (*HTTPS, error) {
	return NewHTTPS(l.Clients[0].NS, netip.AddrPortFrom(lab.VIP, lab.Port), l.Nodes[0].CAFile())
}

// Run runs all until ctx ends or one fails. It is an Observer itself.
func (o Observers) Run(ctx context.Context, to *record.Recorder, ready func()) error {
	g, ctx := errgroup.WithContext(ctx)
	var waiting atomic.Int64
	waiting.Store(int64(len(o)))
	oneReady := func() {
		if waiting.Add(-1) == 0 {
			ready()
		}
	}
	for _, ob := range o {
		g.Go(func() error { return ob.Run(ctx, to, oneReady) })
	}
	return g.Wait()
}

// During runs the observers, and once they watch, fn. It returns what they
// saw until fn returned.
func (o Observers) During(ctx context.Context, fn func(context.Context, *record.Recorder) error) (record.History, error) {
	var rec record.Recorder
	g, ctx := errgroup.WithContext(ctx)
	watch, stop := context.WithCancel(ctx)
	ready := make(chan struct{})
	g.Go(func() error { return o.Run(watch, &rec, func() { close(ready) }) })
	g.Go(func() error {
		defer stop()
		select {
		case <-ready:
			return fn(ctx, &rec)
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if err := g.Wait(); err != nil {
		return rec.History(), fmt.Errorf("observe: %w", err)
	}
	return rec.History(), nil
}

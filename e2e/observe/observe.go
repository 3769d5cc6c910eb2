// Package observe watches a VIP from outside: which machines answer for it, which node has it, and
// whether a client can reach it. It records and does not judge; package analyse does.
package observe

import (
	"context"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
)

// An Observer records what it sees until ctx ends. Run calls ready once, when nothing will be
// missed from then on. Run returns when nothing of it is left; the error is nil if only the end of
// ctx ended it.
type Observer interface {
	Run(ctx context.Context, to *record.Recorder, ready func()) error
}

// Observers are observers that run together.
type Observers []Observer

// Outside returns the observers that do not depend on the manager of the VIP: an HTTPS client in
// c1, an ARP prober in c2 and one in o1, and an address monitor on each node.
func Outside(l *lab.Lab) (Observers, error) {
	client, err := forClient(l)
	if err != nil {
		return nil, err
	}
	obs := append(Observers{client}, ARPs(l)...)
	for _, n := range l.Nodes {
		obs = append(obs, &Addresses{NS: n.NS, Node: n.Name, VIP: l.VIP})
	}
	return obs, nil
}

// ForLab returns the observers of vipd's lab: in addition, an idle client in c1, knocks from o1 at
// each node, a watch of the Lease on each node, and monitors of the ARP tables of the listeners.
func ForLab(l *lab.Lab) (Observers, error) {
	client, err := forClient(l)
	if err != nil {
		return nil, err
	}
	obs, err := Outside(l)
	if err != nil {
		return nil, err
	}
	obs = append(obs, NewIdle(client), &Knock{Host: l.Observer, Nodes: l.Nodes, To: l.Endpoint()})
	for _, n := range l.Nodes {
		obs = append(obs, &Lease{Node: n})
	}
	for _, h := range l.Listeners() {
		obs = append(obs, &Neighbour{Host: h, VIP: l.VIP})
	}
	return obs, nil
}

func forClient(l *lab.Lab) (*HTTPS, error) {
	return NewHTTPS(l.Clients[0].NS, l.Endpoint(), l.Nodes[0].CAFile())
}

// Run runs all observers until ctx ends or one fails. It implements Observer.
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

// During starts the observers, runs fn once they are ready, and returns what they recorded until fn
// returned.
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

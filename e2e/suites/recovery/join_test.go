package recovery

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// starved is for how long the holder has a tenth of a CPU.
const starved = 30 * time.Second

// TestJoinBesideAStarvedHolder: etcd and API server of the holder get a tenth of a CPU while another
// node joins the cluster, which costs all of them a snapshot and an election. The VIP moves only
// while a server of another node is ready.
func TestJoinBesideAStarvedHolder(t *testing.T) {
	s := stage(t)
	second, joins := s.others(s.holder)[0], s.others(s.holder)[1]
	s.leaveEtcd(second, joins)
	_, err := joins.Vipd.Stop(5 * time.Second)
	must(t, err)
	var polls polls
	e := s.watch(record.Promise{Name: "join", Title: "holder starved while another node joins", MayMove: true, Dark: patience}, func(ctx context.Context) error {
		poll, stop := context.WithCancel(ctx)
		var g errgroup.Group
		for _, n := range s.Nodes {
			g.Go(func() error { polls.follow(poll, s, n); return nil })
		}
		err := s.joinStarved(ctx, joins, second)
		stop()
		_ = g.Wait()
		return err
	})
	last := ""
	for _, v := range written(e.History) {
		if v.Holder == "" || v.Holder == last {
			continue
		}
		if last != "" && !polls.readyBeside(last, v.Sent) {
			t.Errorf("the VIP went from %s to %s at %v, and no other node's API server was ready", last, v.Holder, v.Sent)
		}
		last = v.Holder
	}
}

// joinStarved starves the holder, makes a node join, and waits until all is well.
func (s *scene) joinStarved(ctx context.Context, joins, second *lab.Node) error {
	short, cancel := context.WithTimeout(ctx, starved)
	defer cancel()
	var g errgroup.Group
	g.Go(func() error { return lab.Throttle(short, s.holder.Etcd, 0.1) })
	g.Go(func() error { return lab.Throttle(short, s.holder.APIServer, 0.1) })
	g.Go(func() error {
		if err := wait.Until(short, time.Second, func() (bool, error) { return joins.AddToEtcd(ctx, second) == nil, nil }); err != nil {
			return err
		}
		for _, start := range []func() error{func() error { return joins.JoinEtcd(s.others(joins)...) }, joins.APIServer.Start, joins.Vipd.Start} {
			if err := start(); err != nil {
				return err
			}
		}
		keepUp(ctx, joins)
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	for _, n := range s.Nodes {
		if _, err := s.firstReady(ctx, n); err != nil {
			return err
		}
	}
	if err := s.reachable(ctx); err != nil {
		return err
	}
	return wait.For(ctx, 20*time.Second)
}

// polls are the times in which API servers said that they are ready.
type polls struct {
	mu    sync.Mutex
	ready []poll
}

type poll struct {
	node     string
	from, to record.Time
}

// follow asks a node's API server until ctx ends.
func (p *polls) follow(ctx context.Context, s *scene, n *lab.Node) {
	for wait.For(ctx, 100*time.Millisecond) == nil {
		from := record.Now()
		if s.ready(ctx, n) {
			p.mu.Lock()
			p.ready = append(p.ready, poll{n.Name, from, record.Now()})
			p.mu.Unlock()
		}
	}
}

// readyBeside tells whether the API server of another node was ready when a node was left: up to two
// seconds before that, because the next holder decides by its last probe.
func (p *polls) readyBeside(left string, at record.Time) bool {
	return slices.ContainsFunc(p.ready, func(r poll) bool {
		return r.node != left && r.from <= at.Add(500*time.Millisecond) && r.to >= at.Add(-2*time.Second)
	})
}

package simulation

import (
	"context"
	"sync"
	"time"

	"github.com/vipd-io/vipd/internal/leasetest"
	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/vip"
)

// seams are where a process meets what is not simulated as it is. A mutation puts
// something else in their place.
type seams struct {
	timing   election.Timing
	store    election.Store
	clock    boottime.Clock // the Elector's
	notify   func(election.Standing)
	fence    fence
	network  vip.Network
	election vip.Election
	mine     func() bool // asked before each announcement
}

// newProcess wires the parts as newDaemon of cmd/vipd does.
func (n *node) newProcess(t election.Timing) *process {
	p := &process{n: n, k: n.k, timing: t, frames: make(chan string, 64), done: make(chan struct{})}
	p.voice = &voice{p: p, wake: make(chan struct{}, 1)}
	client := &leasetest.Client{Server: &n.c.server, Hedge: t.Attempt / 3, WallClock: n.wallClock}
	client.SetFault(n.fault)
	s := seams{
		timing: t, mine: func() bool { return p.manager.Mine() },
		store: store{p, &election.KubeStore{API: api{p, client}, Namespace: "kube-system", Name: "plndr-cp-lock", Establish: t.Attempt}},
		clock: p.clock(drawElector), notify: func(s election.Standing) { p.manager.Granted(toGrant(s)) },
		fence: n.c.newFence(p), network: network{p}, election: elector{p},
	}
	if n.c.rules.change != nil {
		n.c.rules.change(p, &s)
	}
	p.fence, p.voice.mine = s.fence, s.mine
	p.elector = election.New(election.Options{
		Self: election.Self{Node: n.self, BootID: n.bootID(), Version: "simulated"}, Timing: s.timing, Store: s.store,
		Arm: s.fence.Arm, Now: s.clock, Log: n.c.log(n.name),
		Notify: func(stand election.Standing) { p.notified(stand); s.notify(stand) },
		Asked:  func(to string) { p.manager.MoveTo(to) },
	})
	p.manager = vip.New(vip.Options{
		Node: n.self, Network: s.network, Fence: s.fence, Announcer: p.voice, Election: s.election,
		Slack: s.fence.slack(), Now: p.clock(drawManager), Alarm: p.setAlarm, Log: n.c.log(n.name),
	})
	return p
}

func (c *cluster) newFence(p *process) fence {
	if c.rules.lifetime {
		return lifetime{early: removal}
	}
	return newNftables(p)
}

// start begins what run does.
func (p *process) start(ctx context.Context) {
	parts, end := context.WithCancel(ctx)
	ctx, stop := context.WithCancel(ctx)
	p.stop, p.end = stop, end
	go p.run(ctx, parts)
}

// run is run and daemon.run of cmd/vipd: the Manager ends first, when ctx does,
// then the parts that it needs for that, and then the tables go.
func (p *process) run(ctx, parts context.Context) {
	defer close(p.done)
	defer p.end()
	if p.err = p.fence.prepare(); p.err != nil {
		return
	}
	var running sync.WaitGroup
	running.Go(func() { _ = p.elector.Run(parts) })
	running.Go(func() { p.voice.run(parts) })
	running.Go(func() { p.listen(parts) })
	p.err = p.manager.Run(ctx)
	p.end()
	running.Wait()
	if p.err == nil {
		p.err = p.fence.remove()
	}
	if p.alarm != nil {
		p.alarm.Stop()
	}
}

// setAlarm is boottime.Alarm on the node's clock.
func (p *process) setAlarm(at boottime.Instant) error {
	d := max(0, p.k.clock.when(at)-p.n.c.now())
	if p.alarm == nil {
		p.alarm = time.AfterFunc(d, p.manager.Wake)
	}
	p.alarm.Reset(d)
	return nil
}

// toGrant is that of cmd/vipd.
func toGrant(s election.Standing) vip.Grant {
	return vip.Grant{Held: s.Held, Term: s.Term, Until: s.Until, Ticket: s.Ticket, Holder: s.Holder, Known: s.Known, Why: s.Why, Confirmed: s.Confirmed}
}

// elector is cmd/vipd's adapter of that name.
type elector struct{ p *process }

func (e elector) Campaign(ctx context.Context, c vip.Campaign) {
	e.p.elector.SetCandidate(ctx, election.Candidate{Eligible: c.Eligible, MAC: c.MAC, HoldBack: c.HoldBack, Yield: c.Yield, NotBefore: c.NotBefore})
}

func (e elector) GiveBack(ctx context.Context, successor string) error {
	return e.p.elector.Release(ctx, successor)
}

func (e elector) Confirm(ctx context.Context)            { e.p.elector.Confirm(ctx) }
func (e elector) Refuse(ctx context.Context, why string) { e.p.elector.Answer(ctx, why) }

// network is the kernel as the Manager's Network.
type network struct{ p *process }

func (w network) Look() (seen vip.Looked, err error) {
	if err := w.p.glance(func() {}); err != nil {
		return seen, err
	}
	return w.p.k.look()
}

func (w network) Put(l vip.Link, valid time.Duration) error {
	return w.p.call(drawPut, func() error { return w.p.k.put(l.Index, valid) })
}

// Divert is about clients; that the node answers no more from then on, where it
// works, is not relied upon.
func (w network) Divert() { _ = w.p.call(drawDivert, func() error { return nil }) }

func (w network) Remove() error {
	return w.p.call(drawTake, func() error { w.p.k.remove(); return nil })
}

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

// dependencies are the interfaces of a process to the models. A mutation replaces them.
type dependencies struct {
	timing   election.Timing
	store    election.Store
	clock    boottime.Clock // of the Elector
	raw      boottime.RawClock
	now      boottime.Clock // of the Manager
	alarm    func(boottime.Instant) error
	notify   func(election.Status)
	fence    fence
	network  vip.Network
	election vip.Election
	mine     func() bool // checked before each announcement
	end      func()      // tells the Manager to end
}

// newProcess wires the parts as newGroup of internal/daemon does.
func (n *node) newProcess(t election.Timing) *process {
	p := &process{n: n, k: n.k, timing: t, frames: make(chan string, 64), done: make(chan struct{})}
	p.announcer = &announcer{p: p, wake: make(chan struct{}, 1)}
	client := &leasetest.Client{Server: &n.c.server, Hedge: t.Attempt / 3, WallClock: n.wallClock}
	client.SetFault(n.fault)
	s := dependencies{
		timing: t, mine: func() bool { return p.manager.Holds() },
		store: store{p, &election.KubeStore{API: api{p, client}, Namespace: "kube-system", Name: "plndr-cp-lock", Establish: t.Attempt}},
		clock: p.clock(drawElector), raw: p.raw, now: p.clock(drawManager), alarm: p.setAlarm, notify: func(s election.Status) { p.manager.Granted(toGrant(s)) },
		fence: n.c.newFence(p), network: network{p}, election: elector{p}, end: func() { p.manager.End() },
	}
	if n.c.rules.change != nil {
		n.c.rules.change(p, &s)
	}
	p.fence, p.announcer.mine, p.tell = s.fence, s.mine, s.end
	p.elector = election.New(election.Options{
		Self: election.Self{Node: n.self, Machine: n.machine(), BootID: n.bootID(), Version: "simulated"}, Timing: s.timing, MaxLease: n.c.most, Alone: p.isAlone, Store: s.store,
		Arm: s.fence.Arm, Now: s.clock, Raw: s.raw, Log: n.c.log(n.name),
		Observe: func(e election.Event) {
			switch e := e.(type) {
			case election.Status:
				p.notified(e)
				s.notify(e)
			case election.MoveRequest:
				p.manager.MoveTo(e.To)
			case election.Unreached:
				p.manager.Unreached(e.By)
			case election.Accepted:
				p.manager.Accepted(e.By)
			}
		},
	})
	p.manager = vip.New(vip.Options{
		Node: n.self, Longest: n.c.most, Network: s.network, Fence: s.fence, Announcer: p.announcer, Election: s.election,
		Slack: s.fence.slack(), Now: s.now, Alarm: s.alarm, Log: n.c.log(n.name),
	})
	return p
}

func (c *cluster) newFence(p *process) fence {
	if c.rules.lifetime {
		return lifetime{early: removal}
	}
	return newNftables(p)
}

// start starts run.
func (p *process) start(ctx context.Context) {
	parts, end := context.WithCancel(ctx)
	ctx, stop := context.WithCancel(ctx)
	p.stop, p.end = stop, end
	go p.run(ctx, parts)
}

// run is run and node.run of internal/daemon: the Manager ends first, when ctx ends, then the parts
// that it needs for that, and last the tables are removed.
func (p *process) run(ctx, parts context.Context) {
	defer close(p.done)
	defer p.end()
	if p.err = p.fence.prepare(); p.err != nil {
		return
	}
	var running sync.WaitGroup
	running.Go(func() { _ = p.elector.Run(parts) })
	running.Go(func() { p.announcer.run(parts) })
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

// toGrant is that of internal/daemon.
func toGrant(s election.Status) vip.Grant {
	return vip.Grant{Held: s.Held, Term: s.Term, Until: s.Until, Ticket: s.Ticket, Holder: s.Holder, Known: s.Known, Why: s.Why, Confirmed: s.Confirmed, Reported: s.Claim.Reported, Pledged: s.Pledged}
}

// elector is internal/daemon's adapter.
type elector struct{ p *process }

func (e elector) Campaign(ctx context.Context, c vip.Campaign) {
	e.p.elector.SetCandidate(ctx, election.Candidate{Eligible: c.Eligible, MAC: c.MAC, HoldBack: c.HoldBack, Yield: c.Yield, NotBefore: c.NotBefore, Ending: c.Ending})
}

func (e elector) GiveBack(ctx context.Context, a vip.GiveBack) error {
	return e.p.elector.Release(ctx, election.Handover{Successor: a.Successor, Reported: a.Reported})
}

func (e elector) Confirm(ctx context.Context)            { e.p.elector.Confirm(ctx) }
func (e elector) Refuse(ctx context.Context, why string) { e.p.elector.Answer(ctx, why) }
func (e elector) Offer(ctx context.Context)              { e.p.elector.Offer(ctx) }

// network implements vip.Network on the modelled kernel.
type network struct{ p *process }

func (w network) Look() (seen vip.Observation, err error) {
	if err := w.p.instantCall(drawGlance, func() {}); err != nil {
		return seen, err
	}
	return w.p.k.look()
}

func (w network) Put(places vip.Places, valid time.Duration) error {
	w.p.refreshes("the address is put up")
	return w.p.call(drawPut, func() error { return w.p.k.put(places.First().Index, valid) })
}

func (w network) Divert() error { return w.p.call(drawDivert, w.p.k.divert) }

func (w network) Remove() error {
	return w.p.call(drawTake, func() error { w.p.k.remove(); return nil })
}

// Package health probes the API servers behind the address: this node's own server and the servers
// of the other nodes. It reports which servers are ready, and which were seen ready after this
// node's own server was seen to fail: moving from a server in trouble to another server in the same
// trouble gains nothing.
//
// A server that refuses connections, or reports that it is shutting down, is not ready at once. A
// server that reports a failed check is probed once more first. A server that is slow, or answers
// with an error now and then, stays ready until it has had enough time. Package health does not
// decide what follows (package vip does).
package health

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Server is the state of an API server at one instant.
type Server struct {
	// Name is the host:port of the server.
	Name    string
	Verdict Verdict
	// Since is when the server was first seen ready, 0 if it is not ready.
	Since boottime.Instant
	// Why is why the server is not ready, as text for people.
	Why string
	// Better means that the server was seen ready after this node's own server was seen to fail.
	Better bool
}

// State is the state of all servers.
type State struct {
	Local Server
	Peers []Server
}

// Order returns the servers in the order in which to ask them: the local server, the ready servers,
// the others. If the local server is not ready, it comes after the ready ones.
func (s State) Order() []string {
	var ready, others []string
	for _, p := range s.Peers {
		if p.Verdict == Ready {
			ready = append(ready, p.Name)
		} else {
			others = append(others, p.Name)
		}
	}
	if s.Local.Verdict == NotReady {
		return append(append(ready, s.Local.Name), others...)
	}
	return append(append([]string{s.Local.Name}, ready...), others...)
}

// Options configures a Monitor.
type Options struct {
	// Local is the host:port of this node's own server.
	Local string
	// Ask requests /readyz of a server, over a working connection; known is false if no request
	// could be made.
	Ask func(ctx context.Context, server string) (status int, body string, known bool, err error)
	// Observe is called with each State that differs from the one before. Observe must not
	// block.
	Observe func(State)
	Log     *zap.Logger
	// Now is the clock; nil is CLOCK_BOOTTIME.
	Now boottime.Clock
}

// Intervals between two probes.
const (
	// The holder has to know when to leave and where to go. A standby has to know only whether to
	// hold back, and which server to ask for the Lease.
	holderOwn, holderPeer   = 200 * time.Millisecond, time.Second
	standbyOwn, standbyPeer = time.Second, 5 * time.Second
	// errorInterval applies after an error of this node's own server, silentInterval while the
	// server does not answer.
	errorInterval  = 50 * time.Millisecond
	silentInterval = 100 * time.Millisecond
	// recoveryInterval applies while a server is not ready. It also applies to the peers, while
	// this node holds and its own server is suspect.
	recoveryInterval = 200 * time.Millisecond
	// timeout of one probe; longer than maxWait, so that a slow answer counts.
	timeout = time.Second
)

// Monitor probes API servers. Make a Monitor with New, then call Run.
type Monitor struct {
	opts Options
	log  *zap.Logger
	now  boottime.Clock

	peersChanged chan struct{} // one slot

	mu          sync.Mutex
	local       *prober
	peers       []*prober
	wanted      []string
	holding     bool
	suspect     bool // this node holds, and its own server is suspect
	notified    State
	anyNotified bool // notified was sent at least once
}

// New returns a Monitor without peers, which has not probed yet.
func New(opts Options) *Monitor {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	if opts.Now == nil {
		opts.Now = boottime.Now
	}
	m := &Monitor{opts: opts, log: opts.Log, now: opts.Now, peersChanged: make(chan struct{}, 1)}
	m.local = newProber(m, opts.Local)
	return m
}

// SetPeers sets the other servers. SetPeers does not block.
func (m *Monitor) SetPeers(servers []string) {
	m.mu.Lock()
	m.wanted = slices.Clone(servers)
	m.mu.Unlock()
	signal(m.peersChanged)
}

// SetHolding says whether this node holds the address; a holder has to know when to leave and where to
// go. Initially, it does not hold. SetHolding may wait for Observe, and for nothing else.
func (m *Monitor) SetHolding(holding bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if holding && !m.holding {
		signal(m.local.wake)
		m.askPeers()
	}
	m.holding = holding
	m.update()
}

// ProbeNow probes the server now if it is this node's own: something was observed that may mean
// trouble. A server that is not ready is probed often enough already. ProbeNow does not wait for
// Observe, so code that Observe waits for may call ProbeNow.
func (m *Monitor) ProbeNow(server string) {
	if server == m.opts.Local {
		signal(m.local.wake)
	}
}

// Run probes until ctx ends.
func (m *Monitor) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { m.local.run(ctx) })
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.peersChanged:
			for _, run := range m.adjust(ctx) {
				all.Go(run)
			}
		}
	}
}

// adjust ends the probes of peers that left, and returns the probe loops of new peers.
func (m *Monitor) adjust(ctx context.Context) (came []func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var peers []*prober
	for _, p := range m.peers {
		if slices.Contains(m.wanted, p.name) {
			peers = append(peers, p)
		} else {
			p.end()
		}
	}
	for _, name := range m.wanted {
		if name == m.local.name || slices.ContainsFunc(peers, func(p *prober) bool { return p.name == name }) {
			continue
		}
		p := newProber(m, name)
		probing, end := context.WithCancel(ctx)
		p.end = end
		peers, came = append(peers, p), append(came, func() { p.run(probing) })
	}
	m.peers = peers
	m.notify()
	return came
}

// notify calls Observe if the state changed. The caller holds the lock.
func (m *Monitor) notify() {
	s := State{Local: m.local.server()}
	for _, p := range m.peers {
		v := p.server()
		v.Better = v.Verdict == Ready && p.judge.good > m.local.judge.bad
		if s.Local.Verdict != NotReady {
			v.Better = false // not used, and changes all the time
		}
		s.Peers = append(s.Peers, v)
	}
	if m.anyNotified && s.Local == m.notified.Local && slices.Equal(s.Peers, m.notified.Peers) {
		return
	}
	m.report(s)
	m.notified, m.anyNotified = s, true
	m.opts.Observe(s)
}

// report logs what changed.
func (m *Monitor) report(s State) {
	before := make(map[string]Verdict)
	for _, old := range append([]Server{m.notified.Local}, m.notified.Peers...) {
		before[old.Name] = old.Verdict
	}
	for i, now := range append([]Server{s.Local}, s.Peers...) {
		whose := zap.String("whose", [...]string{"this node's", "a peer's"}[min(i, 1)])
		if now.Verdict == before[now.Name] {
			continue
		}
		if now.Verdict == NotReady {
			m.log.Warn("API server is not ready", zap.String("server", now.Name), whose, zap.String("reason", now.Why))
		} else {
			m.log.Info("API server is ready", zap.String("server", now.Name), whose)
		}
	}
}

// update acts on a new verdict. When a holder's own server becomes suspect, the peers are probed at
// once. The caller holds the lock.
func (m *Monitor) update() {
	m.notify()
	suspect := m.holding && m.local.judge.urgency() > 0
	if suspect && !m.suspect {
		m.askPeers()
	}
	m.suspect = suspect
}

// askPeers probes all peers now. The caller holds the lock.
func (m *Monitor) askPeers() {
	for _, p := range m.peers {
		signal(p.wake)
	}
}

// signal fills a channel with one slot.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

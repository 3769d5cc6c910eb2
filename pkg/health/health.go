// Package health watches the API servers behind the address: the one on this
// node, and those of the other nodes. It tells which are ready, and which were
// seen ready since this node's own was seen to fail: nothing is gained by moving
// from a server that is in trouble to another one in the same trouble.
//
// A server that refuses connections, or says that it is shutting down, is not
// ready at once. One that says so of a check is asked once more. One that is
// slow, or answers with errors now and then, is ready until it has had time
// enough. What follows from it is not decided here (package vip).
package health

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Server is an API server at one moment.
type Server struct {
	// Name is its host:port.
	Name    string
	Verdict Verdict
	// Why says why it is not ready, in words.
	Why string
	// Better: it was seen ready since this node's own server was seen to fail.
	Better bool
}

// State is what is thought of all of them.
type State struct {
	Local Server
	Peers []Server
}

// Order lists the servers in the order in which to ask them: the local one, those
// that are ready, the others; the local one behind them if it is not ready.
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

// Options configure a Monitor.
type Options struct {
	// Local is host:port of this node's own server.
	Local string
	// Ask asks a server for /readyz, over a connection that works: known is
	// false if it could not be asked.
	Ask func(ctx context.Context, server string) (status int, body string, known bool, err error)
	// Notify is told of each change. It must not block.
	Notify func(State)
	Log    *zap.Logger
	// Now is the clock; nil is CLOCK_BOOTTIME.
	Now boottime.Clock
}

// Time between two probes.
const (
	// The holder has to know when to leave and where to go. A standby wants to
	// know only whether to stand back, and whom to ask for a Lease.
	holderOwn, holderPeer   = 200 * time.Millisecond, time.Second
	standbyOwn, standbyPeer = time.Second, 5 * time.Second
	// hurry is that after an error of this node's own server, slowly that while
	// it does not answer.
	hurry  = 50 * time.Millisecond
	slowly = 100 * time.Millisecond
	// recovery is that while it is not ready, and of the peers while it is in
	// doubt and this node holds.
	recovery = 200 * time.Millisecond
	// timeout of one probe; more than patience, so that a slow answer counts.
	timeout = time.Second
)

// Monitor probes. Make it with New and call Run.
type Monitor struct {
	opts Options
	log  *zap.Logger
	now  boottime.Clock

	peersChanged chan struct{} // one slot

	mu       sync.Mutex
	local    *prober
	peers    []*prober
	wanted   []string
	holding  bool
	troubled bool // this node holds, and its own server is in doubt
	told     State
	began    bool // told has been
}

// New returns a monitor that knows of no peers and has not probed yet.
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

// SetPeers says which other servers there are. It does not block.
func (m *Monitor) SetPeers(servers []string) {
	m.mu.Lock()
	m.wanted = slices.Clone(servers)
	m.mu.Unlock()
	poke(m.peersChanged)
}

// Hold says whether this node holds the address, and so has to know when to leave
// and where to go; at first it does not. It waits for Notify, no longer.
func (m *Monitor) Hold(holding bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if holding && !m.holding {
		poke(m.local.wake)
		m.askPeers()
	}
	m.holding = holding
	m.review()
}

// Nudge has this node's own server probed now, if it is the one: something was
// seen of it that may mean trouble. One that is not ready is asked often enough.
// It does not wait for Notify, and may be called by whoever is in its way.
func (m *Monitor) Nudge(server string) {
	if server == m.opts.Local {
		poke(m.local.wake)
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

// adjust ends the probing of peers that left and returns that of those that came.
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
	m.tell()
	return came
}

// tell notifies if the state is another one. It needs the lock.
func (m *Monitor) tell() {
	s := State{Local: m.local.server()}
	for _, p := range m.peers {
		v := p.server()
		v.Better = v.Verdict == Ready && p.judge.good > m.local.judge.bad
		if s.Local.Verdict != NotReady {
			v.Better = false // of no interest, and it changes all the time
		}
		s.Peers = append(s.Peers, v)
	}
	if m.began && s.Local == m.told.Local && slices.Equal(s.Peers, m.told.Peers) {
		return
	}
	m.report(s)
	m.told, m.began = s, true
	m.opts.Notify(s)
}

// report logs what changed.
func (m *Monitor) report(s State) {
	before := make(map[string]Verdict)
	for _, old := range append([]Server{m.told.Local}, m.told.Peers...) {
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

// review draws what follows from a new judgement. When a holder's own server comes
// into doubt, what the peers are like is of interest at once. It needs the lock.
func (m *Monitor) review() {
	m.tell()
	troubled := m.holding && m.local.judge.doubt() > 0
	if troubled && !m.troubled {
		m.askPeers()
	}
	m.troubled = troubled
}

// askPeers needs the lock.
func (m *Monitor) askPeers() {
	for _, p := range m.peers {
		poke(p.wake)
	}
}

// poke fills a channel of one slot.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

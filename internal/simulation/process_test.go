package simulation

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/vip"
)

// process is one vipd from its start to its end. It acts on its environment, and observes it,
// through calls that pass a gate: while the process is paused (SIGSTOP, a starved machine), calls
// wait at the gate, and after the process was killed, they fail and change nothing. Reading the
// clock passes the gate as well, before and after: so a pause can come at any instruction, and what
// was decided before the pause is carried out after it.
type process struct {
	n         *node
	k         *kernel
	timing    election.Timing
	fence     fence
	elector   *election.Elector
	manager   *vip.Manager
	announcer *announcer
	frames    chan string          // heard, by MAC
	hanging   atomic.Int32         // calls into the kernel that hang now
	hangs     atomic.Int32         // all calls that ever hung
	alarm     *time.Timer          // of the Manager
	alone     atomic.Pointer[bool] // nil while not known
	tell      func()               // requests the end, see vip.Manager.End
	stop      context.CancelFunc   // requests the end at once
	end       context.CancelFunc   // ends the parts that the Manager needs for its end
	done      chan struct{}        // closed when everything has ended
	err       error                // of the Manager, valid after done

	mu      sync.Mutex
	killed  bool
	waiting chan struct{} // what the gate waits for, nil if it is open
	until   time.Duration // the end of the pause
	pauses  int
	stand   election.Status
	right   boottime.Instant // the newest deadline that was reported
	wrote   boottime.Instant // when the last write was passed to the store
}

var (
	errKilled = errors.New("killed")
	errKernel = errors.New("no buffer space available")
)

// pass waits at the gate. Waiting calls continue one after the other.
func (p *process) pass(d draw) error {
	for {
		p.mu.Lock()
		killed, waiting := p.killed, p.waiting
		p.mu.Unlock()
		switch {
		case killed:
			return errKilled
		case waiting == nil:
			return nil
		}
		<-waiting
		p.n.tie(d)
	}
}

// pause stops the process for a while, or extends the pause.
func (p *process) pause(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	until := p.n.c.now() + d
	if p.killed || until <= p.until {
		return
	}
	p.until = until
	p.pauses++
	if p.waiting == nil {
		p.waiting = make(chan struct{})
	}
	time.AfterFunc(d, p.resume)
	p.n.c.note("%s: paused for %s", p.n.name, d)
}

func (p *process) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting != nil && (p.killed || p.n.c.now() >= p.until) {
		close(p.waiting)
		p.waiting = nil
	}
}

// wake ends a pause early.
func (p *process) wake() {
	p.mu.Lock()
	p.until = 0
	p.mu.Unlock()
	p.resume()
}

// kill is SIGKILL. The goroutines end later, without an effect.
func (p *process) kill() {
	p.mu.Lock()
	p.killed = true
	p.mu.Unlock()
	p.resume()
	p.stop()
	p.end()
}

// steady tells whether the process runs, and how often it was paused so far.
func (p *process) steady() (runs bool, pauses int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.killed && p.waiting == nil, p.pauses
}

// ended tells whether everything of the process has ended.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// call is a call into the kernel. It takes some time, may fail, and is a point at which the process
// may be paused, before and after the effect.
func (p *process) call(d draw, do func() error) error {
	p.mayPause(d)
	if err := p.pass(d); err != nil {
		return err
	}
	time.Sleep(p.n.latency(d))
	// A hanging call is inside the kernel already: it takes effect even if the process is killed or
	// paused meanwhile.
	if !p.hang(d) {
		if err := p.pass(d); err != nil {
			return err
		}
	}
	if p.n.fails(d) {
		p.n.c.count("kernel call fails")
		if p.n.oneIn(2, d+drawFailure+drawAgain) {
			_ = do() // with an effect
		}
		return errKernel
	}
	err := do()
	p.hang(d + drawBehind)
	p.mayPause(d + drawBehind)
	if err := p.pass(d); err != nil {
		return err
	}
	return err
}

// hang may let a single call hang for seconds, while the process goes on.
func (p *process) hang(d draw) bool {
	length := p.n.hangs(d)
	if length > 0 {
		p.hangFor(d, length)
	}
	return length > 0
}

func (p *process) hangFor(d draw, length time.Duration) {
	p.n.c.count("kernel call hangs")
	p.n.c.note("%s: a call hangs for %s: %d", p.n.name, length, d)
	p.hanging.Add(1)
	p.hangs.Add(1)
	time.Sleep(length)
	p.hanging.Add(-1)
}

// instantCall is a call that takes no time and changes nothing.
func (p *process) instantCall(d draw, look func()) error {
	if err := p.pass(d); err != nil {
		return err
	}
	p.hang(d)
	if err := p.pass(d); err != nil {
		return err
	}
	if p.n.fails(d) {
		return errKernel
	}
	p.k.do(look)
	return p.pass(d)
}

// clock returns the node's clock as a part of the process reads it.
func (p *process) clock(part draw) boottime.Clock {
	return func() boottime.Instant {
		_ = p.pass(part)
		now := p.k.now()
		p.mayPause(drawClock)
		_ = p.pass(part)
		return now
	}
}

// raw returns the node's raw clock.
func (p *process) raw() boottime.Raw {
	_ = p.pass(drawElector)
	now := p.k.raw()
	p.mayPause(drawClock)
	_ = p.pass(drawElector)
	return now
}

// mayPause may begin a pause.
func (p *process) mayPause(d draw) {
	p.maySuspend(d)
	if length := p.n.pauseAt(d); length > 0 {
		p.n.c.count("paused at a call")
		p.pause(length)
	}
}

// hold returns a context that ends when ctx has ended and the process notices: a paused process
// cancels nothing, and finds the answer when it goes on.
func (p *process) hold(ctx context.Context) (context.Context, context.CancelFunc) {
	held, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		_ = p.pass(drawHold)
		cancel()
	})
	return held, func() { stop(); cancel() }
}

// notified records the state of the election.
func (p *process) notified(s election.Status) {
	p.mu.Lock()
	p.stand = s
	if s.Held {
		p.right = s.Until
	}
	wrote, killed := p.wrote, p.killed
	p.mu.Unlock()
	if killed {
		return
	}
	if s.Held {
		p.k.granted(s.Until)
		if hold := p.holdOf(s.Lease); s.Until.Add(-hold) > wrote {
			p.n.c.wrong(lateSend, "%s counts its lease from %s after its write was sent", p.n.name, s.Until.Add(-hold).Sub(wrote))
		}
	}
	p.n.c.note("%s: standing %+v", p.n.name, s)
}

// holdOf returns for how long a node may answer by a lease of that duration.
func (p *process) holdOf(lease time.Duration) time.Duration {
	t, err := election.NewTiming(lease, p.timing.Renew)
	if lease == p.timing.Lease || err != nil {
		return p.timing.Hold()
	}
	return t.Hold()
}

// setAlone sets whether the node is the only candidate.
func (p *process) setAlone(alone bool) { p.alone.Store(&alone) }

// isAlone is the Elector's option Alone.
func (p *process) isAlone() (alone, known bool) {
	if a := p.alone.Load(); a != nil {
		return *a, true
	}
	return false, false
}

func (p *process) electionStatus() election.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stand
}

// deadline returns the newest deadline that was reported.
func (p *process) deadline() boottime.Instant {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.right
}

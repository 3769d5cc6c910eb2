package simulation

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/vip"
)

// process is one vipd from its start to its end. It acts on the world, and learns
// of it, through calls that pass a gate: while the process is paused (SIGSTOP, a
// starved machine) they wait there, and once it is killed they fail and change
// nothing. The clock has the gate, too, before it is read and behind it: so a
// pause can come at any instruction, and what was decided before it is carried
// out after it.
type process struct {
	n       *node
	k       *kernel
	timing  election.Timing
	fence   fence
	elector *election.Elector
	manager *vip.Manager
	voice   *voice
	frames  chan string        // heard, by MAC
	alarm   *time.Timer        // the Manager's
	stop    context.CancelFunc // tells it to end
	end     context.CancelFunc // ends the parts that the Manager needs to end in order
	done    chan struct{}      // closed when all of it has ended
	err     error              // of the Manager, once done

	mu      sync.Mutex
	killed  bool
	waiting chan struct{} // what the gate waits for, nil if it is open
	until   time.Duration // the end of the pause
	pauses  int
	stand   election.Standing
	right   boottime.Instant // until when it was told that it may answer, at the newest
	wrote   boottime.Instant // when the last write was handed to the store
}

var (
	errKilled = errors.New("killed")
	errKernel = errors.New("no buffer space available")
)

// pass waits at the gate. Those who waited go on one after the other.
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

// pause stops the process for a while, or for longer than it is already.
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

// wake ends a pause before its time.
func (p *process) wake() {
	p.mu.Lock()
	p.until = 0
	p.mu.Unlock()
	p.resume()
}

// kill is SIGKILL. Its goroutines end by and by; nothing comes of what they do.
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

// ended tells whether all of it has.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// call is a call into the kernel. It takes a while, may fail, and may be the
// place at which the process is paused, before it takes effect and behind that.
func (p *process) call(d draw, do func() error) error {
	p.stumble(d)
	if err := p.pass(d); err != nil {
		return err
	}
	time.Sleep(p.n.latency(d))
	if err := p.pass(d); err != nil {
		return err
	}
	if p.n.fails(d) {
		p.n.c.count("kernel call fails")
		if p.n.oneIn(2, d+drawFailure+drawAgain) {
			_ = do() // all the same
		}
		return errKernel
	}
	err := do()
	p.stumble(d + drawBehind)
	if err := p.pass(d); err != nil {
		return err
	}
	return err
}

// glance is a call that takes no time and changes nothing.
func (p *process) glance(look func()) error {
	if err := p.pass(drawLook); err != nil {
		return err
	}
	if p.n.fails(drawLook) {
		return errKernel
	}
	p.k.do(look)
	return p.pass(drawLook)
}

// clock is the node's as a part of the process reads it.
func (p *process) clock(part draw) boottime.Clock {
	return func() boottime.Instant {
		_ = p.pass(part)
		now := p.k.now()
		p.stumble(drawClock)
		_ = p.pass(part)
		return now
	}
}

// stumble may begin a pause.
func (p *process) stumble(d draw) {
	if length := p.n.stumbles(d); length > 0 {
		p.n.c.count("paused at a call")
		p.pause(length)
	}
}

// hold is a context that ends when ctx has and the process noticed: a process that
// is paused gives up nothing, and finds the answer waiting when it goes on.
func (p *process) hold(ctx context.Context) (context.Context, context.CancelFunc) {
	held, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		_ = p.pass(drawHold)
		cancel()
	})
	return held, func() { stop(); cancel() }
}

// notified takes in where the election stands.
func (p *process) notified(s election.Standing) {
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
		if hold := p.timing.Hold(); s.Until.Add(-hold) > wrote {
			p.n.c.wrong(lateSend, "%s counts its lease from %s after its write was sent", p.n.name, s.Until.Add(-hold).Sub(wrote))
		}
	}
	p.n.c.note("%s: standing %+v", p.n.name, s)
}

func (p *process) standing() election.Standing {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stand
}

// deadline is the newest it was told of.
func (p *process) deadline() boottime.Instant {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.right
}

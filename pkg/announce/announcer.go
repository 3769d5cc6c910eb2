// Package announce tells the machines on a link which MAC has an address, on a schedule, and reports
// when other machines claim the address. Package announce neither adds the address nor decides
// whether this node may hold it: it asks before every single announcement. What is sent and heard
// is the Protocol's.
package announce

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Target is the interface and the addresses to announce there.
type Target struct {
	// Index is the index of the interface; MAC is its MAC.
	Index     int
	MAC       net.HardwareAddr
	Addresses []netip.Addr
	// Own is an address of this host on the interface, from which a question is sent. Not every
	// protocol needs one.
	Own netip.Addr
}

// Options configures an Announcer.
type Options struct {
	Protocol Protocol
	// Holds is asked before each frame; on false the frame is not sent.
	Holds func() bool
	// RepeatFor is how long after Announce frames are sent every second at least, see pause. With the
	// lease duration, a virtual machine that was paused meanwhile hears of the new holder within a
	// second of resuming.
	RepeatFor time.Duration
	// Observe, if set, is called with each Announced. Observe must neither block nor call the
	// Announcer.
	Observe func(Event)
	// Log may be nil.
	Log *zap.Logger
}

// sendTimeout bounds each call to an Announcer: a queue that stands still, as of a NIC that hangs,
// must not delay a withdrawal.
const sendTimeout = 50 * time.Millisecond

// Announcer sends announcements from its own goroutine, see Run. No call takes longer than twice
// sendTimeout: its own frames, behind those that are being sent.
type Announcer struct {
	opts Options
	wake chan struct{} // one slot: Run reads target again

	mu          sync.Mutex // held while a frame is sent, so that no frame follows Silence
	target      *Target
	conn        Conn
	failed      bool // the last announcement failed, and the failure was logged
	probeFailed bool // the last probe failed, and the failure was logged
}

// NewAnnouncer returns an Announcer that announces nothing.
func NewAnnouncer(opts Options) *Announcer {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	return &Announcer{opts: opts, wake: make(chan struct{}, 1)}
}

// Announce starts the schedule for the target, in place of the present target. Announce returns
// after the first frames were sent.
func (a *Announcer) Announce(t Target) {
	a.mu.Lock()
	a.closeConn()
	a.target = &t
	a.failed = false
	a.mu.Unlock()
	a.send()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Silence ends the announcements: no frame is sent after Silence has returned. Frames that wait in
// the queue of the interface are not recalled.
func (a *Announcer) Silence() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.target = nil
	a.closeConn()
}

// Defend announces the present target once more, now, and does not change the schedule. Without a
// target, Defend does nothing. The caller limits the rate: two machines that answer each other's
// every frame never stop (RFC 5227 section 2.4).
func (a *Announcer) Defend() { a.send() }

// Probe asks the network once which machine has the addresses of t, before they are announced; a
// Listener reports the answers. A probe claims nothing, so Holds is not asked. While a target is
// announced, Probe does nothing.
func (a *Announcer) Probe(t Target) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.target != nil {
		return
	}
	err := a.probe(t)
	if err != nil && !a.probeFailed {
		a.opts.Log.Warn("probe not sent", zap.Error(err), zap.Int("ifindex", t.Index))
	}
	a.probeFailed = err != nil
}

// Run sends the frames of the schedule after the first ones, until ctx ends.
func (a *Announcer) Run(ctx context.Context) error {
	defer a.Silence()
	timer := time.NewTimer(Refresh)
	defer timer.Stop()
	step := 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.wake:
			step = 0
		case <-timer.C:
			a.send()
			step++
		}
		timer.Reset(pause(step, a.opts.RepeatFor))
	}
}

// send announces every address once.
func (a *Announcer) send() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.target == nil {
		return
	}
	err := a.write(*a.target)
	if a.opts.Observe != nil {
		a.opts.Observe(Announced{Err: err})
	}
	if err != nil && !a.failed {
		a.opts.Log.Warn("announcement not sent", zap.Error(err), zap.Int("ifindex", a.target.Index))
	}
	if err != nil {
		a.closeConn() // the interface may have been replaced
	}
	a.failed = err != nil
}

func (a *Announcer) write(t Target) error {
	if a.conn == nil {
		c, err := a.opts.Protocol.Open(t.Index)
		if err != nil {
			return err
		}
		a.conn = c
	}
	if err := a.conn.SetWriteDeadline(sendBy()); err != nil {
		return fmt.Errorf("bound the time of an announcement: %w", err)
	}
	for _, addr := range t.Addresses {
		frames, err := a.opts.Protocol.Announcements(addr, t.MAC)
		if err != nil {
			return err
		}
		for _, f := range frames {
			if !a.opts.Holds() {
				return errNotMine
			}
			if err := a.conn.Send(f); err != nil {
				return fmt.Errorf("send announcement of %s: %w", addr, err)
			}
			a.opts.Log.Debug("announced", zap.Stringer("vip", addr), zap.Stringer("mac", t.MAC))
		}
	}
	return nil
}

// probe uses its own socket: no announcement may ever follow.
func (a *Announcer) probe(t Target) error {
	conn, err := a.opts.Protocol.Open(t.Index)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetWriteDeadline(sendBy()); err != nil {
		return fmt.Errorf("bound the time of a probe: %w", err)
	}
	for _, addr := range t.Addresses {
		f, err := a.opts.Protocol.Question(t, addr)
		if err != nil {
			return err
		}
		if err := conn.Send(f); err != nil {
			return fmt.Errorf("send probe for %s: %w", addr, err)
		}
		a.opts.Log.Debug("probed", zap.Stringer("vip", addr), zap.Stringer("mac", t.MAC))
	}
	return nil
}

// errNotMine means that the frame was not sent because this node is not the holder any more.
var errNotMine = errors.New("no longer the holder")

func (a *Announcer) closeConn() {
	if a.conn != nil {
		_ = a.conn.Close()
		a.conn = nil
	}
}

// sendBy is when the frames that are sent now have to be sent.
func sendBy() time.Time { return time.Now().Add(sendTimeout) } //nolint:forbidigo // of a socket; nothing is decided on it

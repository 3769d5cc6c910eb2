// Package arp tells the network, by gratuitous ARP, at which MAC an address is
// to be found. It neither puts the address there nor decides whether it may:
// it asks before every single frame.
package arp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/packet"
	"go.uber.org/zap"
)

// burst is when the frames of one announcement go out, counted from its start.
// The third and later ones lie past Linux' locktime of 1 s, within which a
// neighbour may ignore a change (arp(7)); the last ones are for a switch that
// was still learning.
var burst = []time.Duration{0, 100 * time.Millisecond, 300 * time.Millisecond, 1200 * time.Millisecond, 2500 * time.Millisecond, 5 * time.Second}

// refresh is the time between frames afterwards: switches forget a MAC after
// 300 s by default, many routers keep an ARP entry for longer than that.
const refresh = 30 * time.Second

// Target is a place at which addresses are to be found.
type Target struct {
	// Index is that of the interface; MAC is the interface's.
	Index     int
	MAC       net.HardwareAddr
	Addresses []netip.Addr
}

// Options configure an Announcer.
type Options struct {
	// Mine is asked before each frame; false keeps it from being sent.
	Mine func() bool
	// Log may be nil.
	Log *zap.Logger
	// Listen opens a socket that sends raw frames on an interface; nil is the
	// real one. Tests give one in another network namespace.
	Listen func(index int) (Conn, error)
}

// Conn sends frames on one interface.
type Conn interface {
	WriteTo(frame []byte, to net.Addr) (int, error)
	Close() error
}

// Announcer sends announcements from its own goroutine, see Run.
type Announcer struct {
	opts Options
	wake chan struct{} // one slot: Run looks at target again

	mu     sync.Mutex // held while a frame is sent, so that Silence means silence
	target *Target
	conn   Conn
	failed bool // the last frame could not be sent, which was logged
}

// New returns an announcer that is silent.
func New(opts Options) *Announcer {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	if opts.Listen == nil {
		opts.Listen = listen
	}
	return &Announcer{opts: opts, wake: make(chan struct{}, 1)}
}

// Announce starts a burst for the target, in place of whatever was announced.
// The first frames are sent before it returns.
func (a *Announcer) Announce(t Target) {
	a.mu.Lock()
	a.hangUp()
	a.target = &t
	a.failed = false
	a.mu.Unlock()
	a.send()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Silence ends the announcing: no frame is sent once it has returned.
func (a *Announcer) Silence() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.target = nil
	a.hangUp()
}

// Run sends what is due after the first frames, until ctx ends.
func (a *Announcer) Run(ctx context.Context) error {
	defer a.Silence()
	timer := time.NewTimer(refresh)
	defer timer.Stop()
	step := 0
	var start time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.wake:
			step, start = 1, time.Now()
		case <-timer.C:
			a.send()
			step++
		}
		timer.Reset(until(step, start))
	}
}

// until tells how long to wait for the frames of a step.
func until(step int, start time.Time) time.Duration {
	if step < len(burst) {
		return max(0, time.Until(start.Add(burst[step])))
	}
	return refresh
}

// send announces every address once, in both forms.
func (a *Announcer) send() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.target == nil {
		return
	}
	err := a.write(*a.target)
	if err != nil && !a.failed {
		a.opts.Log.Warn("announcement not sent", zap.Error(err), zap.Int("ifindex", a.target.Index))
	}
	if err != nil {
		a.hangUp() // the interface may be another one next time
	}
	a.failed = err != nil
}

func (a *Announcer) write(t Target) error {
	if a.conn == nil {
		c, err := a.opts.Listen(t.Index)
		if err != nil {
			return err
		}
		a.conn = c
	}
	for _, addr := range t.Addresses {
		frames, err := gratuitous(addr, t.MAC)
		if err != nil {
			return err
		}
		for _, f := range frames {
			if !a.opts.Mine() {
				return errNotMine
			}
			if _, err := a.conn.WriteTo(f, &packet.Addr{HardwareAddr: ethernet.Broadcast}); err != nil {
				return fmt.Errorf("send announcement of %s: %w", addr, err)
			}
			a.opts.Log.Debug("announced", zap.Stringer("vip", addr), zap.Stringer("mac", t.MAC))
		}
	}
	return nil
}

// errNotMine is what keeps a frame from being sent by one whose time is up.
var errNotMine = errors.New("no longer the holder")

func (a *Announcer) hangUp() {
	if a.conn != nil {
		_ = a.conn.Close()
		a.conn = nil
	}
}

// listen opens a send-only socket: protocol 0 receives nothing (packet(7)).
func listen(index int) (Conn, error) {
	ifi, err := net.InterfaceByIndex(index)
	if err != nil {
		return nil, fmt.Errorf("look up interface %d: %w", index, err)
	}
	c, err := packet.Listen(ifi, packet.Raw, 0, nil)
	if err != nil {
		return nil, fmt.Errorf("open packet socket on %s (needs CAP_NET_RAW): %w", ifi.Name, err)
	}
	return c, nil
}

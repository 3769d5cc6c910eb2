// Package arp tells the network, by gratuitous ARP, at which MAC an address is
// to be found, and hears who else says so. It neither puts the address there nor
// decides whether it may: it asks before every single announcement.
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
	// Insist is the time after Announce in which frames go out every second at
	// least, see pause. That of the lease lets a virtual machine that was paused
	// meanwhile hear of the new holder within a second of waking up.
	Insist time.Duration
	// Sent, if set, is told what came of each round of announcements. It must not
	// block, nor call the Announcer.
	Sent func(error)
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
	failed bool // the last announcement could not be sent, which was logged
	mute   bool // the last probe could not be sent, which was logged
}

// New returns an announcer that is silent.
func New(opts Options) *Announcer {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	if opts.Listen == nil {
		opts.Listen = func(index int) (Conn, error) { return open(index, 0, nil) } // receives nothing, packet(7)
	}
	return &Announcer{opts: opts, wake: make(chan struct{}, 1)}
}

// Announce starts the schedule for the target, in place of whatever was announced.
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

// Defend announces the present target once more, now. The schedule goes on as it
// was; a silent announcer stays silent. How often is for the caller to bound: two
// that answer each other's every frame never end (RFC 5227 section 2.4).
func (a *Announcer) Defend() { a.send() }

// Probe asks the network once who has the addresses of t, before they are
// announced there; a Listener hears the answers. As a probe claims nothing, Mine
// is not asked. While anything is announced, Probe does nothing.
func (a *Announcer) Probe(t Target) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.target != nil {
		return
	}
	err := a.probe(t)
	if err != nil && !a.mute {
		a.opts.Log.Warn("probe not sent", zap.Error(err), zap.Int("ifindex", t.Index))
	}
	a.mute = err != nil
}

// Run sends what is due after the first frames, until ctx ends.
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
		timer.Reset(pause(step, a.opts.Insist))
	}
}

// send announces every address once, in both forms.
func (a *Announcer) send() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.target == nil {
		return
	}
	err := a.write(*a.target)
	if a.opts.Sent != nil {
		a.opts.Sent(err)
	}
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

// probe uses a socket of its own: there may never be an announcement.
func (a *Announcer) probe(t Target) error {
	conn, err := a.opts.Listen(t.Index)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	for _, addr := range t.Addresses {
		f, err := probe(addr, t.MAC)
		if err != nil {
			return err
		}
		if _, err := conn.WriteTo(f, &packet.Addr{HardwareAddr: ethernet.Broadcast}); err != nil {
			return fmt.Errorf("send probe for %s: %w", addr, err)
		}
		a.opts.Log.Debug("probed", zap.Stringer("vip", addr), zap.Stringer("mac", t.MAC))
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

// open opens a socket for raw frames of one EtherType on an interface.
func open(index, etherType int, cfg *packet.Config) (*packet.Conn, error) {
	ifi, err := net.InterfaceByIndex(index)
	if err != nil {
		return nil, fmt.Errorf("look up interface %d: %w", index, err)
	}
	c, err := packet.Listen(ifi, packet.Raw, etherType, cfg)
	if err != nil {
		return nil, fmt.Errorf("open packet socket on %s (needs CAP_NET_RAW): %w", ifi.Name, err)
	}
	return c, nil
}

package arp

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/pkg/boottime"
)

const (
	// retryAfter is the time between attempts to listen.
	retryAfter = time.Second

	// quiet is how long further claims by a MAC are dropped once one was told:
	// an announcement has several frames, a flood any number. No more than
	// strangers MACs are told of in that time, lest a flood of MACs be one of
	// claims and of memory.
	quiet     = 50 * time.Millisecond
	strangers = 64

	// rest is the pause after a frame that was not told of: what a flood has in
	// excess then overflows the socket's buffer, at no cost to this process.
	rest = time.Millisecond
)

// ListenerOptions configure a Listener.
type ListenerOptions struct {
	// Addresses are those to which claims are heard.
	Addresses []netip.Addr
	// Heard is told of each claim by a MAC that is not ours. It must not block.
	Heard func(Claim)
	// Listens, if set, is told when it begins to listen on an interface, and when it
	// does no more. It must not block.
	Listens func(bool)
	// Log may be nil.
	Log *zap.Logger
	// Listen opens a socket that reads ARP frames, Ethernet headers included, on
	// an interface; nil is the real one. Tests give one in another namespace.
	Listen func(index int) (ReadConn, error)
	// Now is the clock; nil is CLOCK_BOOTTIME.
	Now boottime.Clock
}

// ReadConn reads frames on one interface. Close ends a ReadFrom that waits.
type ReadConn interface {
	ReadFrom(frame []byte) (int, net.Addr, error)
	Close() error
}

// Listener hears who else claims our addresses, see Run.
type Listener struct {
	opts ListenerOptions
	wake chan struct{} // one slot: Run looks again at where to listen

	mu    sync.Mutex
	index int
	mac   net.HardwareAddr
	conn  ReadConn // the one that Run reads, nil if none

	told map[kind]boottime.Instant // Run's: when one was told of, within quiet
}

// kind is what is told of once within quiet. A busy holder asks for its clients many
// times a second; its announcements are not to get lost among that.
type kind struct {
	mac       [6]byte
	announces bool
}

// NewListener returns a listener that listens nowhere.
func NewListener(opts ListenerOptions) *Listener {
	if opts.Heard == nil {
		opts.Heard = func(Claim) {}
	}
	if opts.Listens == nil {
		opts.Listens = func(bool) {}
	}
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	if opts.Now == nil {
		opts.Now = boottime.Now
	}
	if opts.Listen == nil {
		opts.Listen = func(index int) (ReadConn, error) { return tap(index, opts.Addresses) }
	}
	return &Listener{opts: opts, wake: make(chan struct{}, 1), told: make(map[kind]boottime.Instant)}
}

// Watch tells on which interface to listen, 0 being none, and which MAC is ours
// there. It does not wait for the socket. The same again changes nothing, but
// that an interface on which listening failed is tried at once.
func (l *Listener) Watch(index int, mac net.HardwareAddr) {
	l.mu.Lock()
	if index != l.index {
		l.hangUp()
	}
	l.index, l.mac = index, slices.Clone(mac)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Run listens until ctx ends. An interface that is down or gone is tried again.
func (l *Listener) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { l.end() })()
	failed := 0 // the interface on which listening failed, which was logged
	for ctx.Err() == nil {
		index, began := l.place(), l.opts.Now()
		err := l.listen(ctx, index)
		var retry <-chan time.Time
		if err != nil {
			// A socket that lasted had got over what was logged.
			if index != failed || l.opts.Now().Sub(began) > retryAfter {
				l.opts.Log.Warn("claims by others are not heard", zap.Error(err), zap.Int("ifindex", index))
			}
			failed, retry = index, time.After(retryAfter)
		}
		select {
		case <-ctx.Done():
		case <-l.wake:
		case <-retry:
		}
	}
	return nil
}

func (l *Listener) place() (index int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.index
}

// listen hears what there is to hear on an interface. It returns nil when that
// is none, or not the one to listen on any longer.
func (l *Listener) listen(ctx context.Context, index int) error {
	if index == 0 {
		return nil
	}
	conn, err := l.open(ctx, index)
	if conn == nil || err != nil {
		return err
	}
	l.opts.Listens(true)
	defer l.opts.Listens(false)
	buf := make([]byte, 128)
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			if !l.end() {
				return nil // closed by Watch or the end of ctx
			}
			return fmt.Errorf("read ARP frames: %w", err)
		}
		if l.hear(buf[:n]) {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(rest):
		}
	}
}

// open opens a socket that Watch and the end of ctx close. It is nil if they
// have nothing left to read on the interface.
func (l *Listener) open(ctx context.Context, index int) (ReadConn, error) {
	conn, err := l.opts.Listen(index)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() != nil || l.index != index {
		_ = conn.Close() // nobody else would
		return nil, nil
	}
	l.conn = conn
	l.opts.Log.Debug("listening for claims", zap.Int("ifindex", index))
	return conn, nil
}

// end hangs up, and tells whether there was a socket.
func (l *Listener) end() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hangUp()
}

// hangUp closes the socket, which ends Run's read. l.mu is held.
func (l *Listener) hangUp() bool {
	if l.conn == nil {
		return false
	}
	_ = l.conn.Close()
	l.conn = nil
	return true
}

// hear tells of the claim in a frame if it is one by somebody else, and there
// were not too many of them.
func (l *Listener) hear(frame []byte) (told bool) {
	c, ok := Parse(frame)
	if !ok || !slices.Contains(l.opts.Addresses, c.Addr) || l.ours(c.MAC) {
		return false
	}
	now := l.opts.Now()
	maps.DeleteFunc(l.told, func(_ kind, at boottime.Instant) bool { return now.Sub(at) >= quiet })
	one := kind{[6]byte(c.MAC), c.Announces}
	if _, before := l.told[one]; before || len(l.told) == strangers {
		return false
	}
	l.told[one] = now
	l.opts.Heard(c)
	return true
}

func (l *Listener) ours(mac net.HardwareAddr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Equal(mac, l.mac)
}

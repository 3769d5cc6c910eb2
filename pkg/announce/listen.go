package announce

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

	// reportInterval is the minimum time between two reported claims of one MAC: an announcement
	// has several frames, and a flood has any number. No more than maxMACs MACs are reported in
	// that time, so that a flood of MACs does not become a flood of reports, or fill the memory.
	reportInterval = 50 * time.Millisecond
	maxMACs        = 64

	// dropPause is the pause after a frame that was not reported: the frames of a flood then
	// overflow the socket's buffer, at no cost to this process.
	dropPause = time.Millisecond
)

// ListenerOptions configures a Listener.
type ListenerOptions struct {
	Protocol Protocol
	// Addresses are the addresses whose claims are reported.
	Addresses []netip.Addr
	// Observe, if set, is called with each Claim by another machine's MAC, and with each
	// Listening. Observe must not block.
	Observe func(Event)
	// Log may be nil.
	Log *zap.Logger
	// Now is the clock; nil is CLOCK_BOOTTIME.
	Now boottime.Clock
}

// Listener reports claims of the addresses by other machines, see Run.
type Listener struct {
	opts ListenerOptions
	wake chan struct{} // one slot: Run reads index again

	mu    sync.Mutex
	index int
	mac   net.HardwareAddr
	conn  ReadConn // the socket that Run reads, nil if none

	reported map[kind]boottime.Instant // owned by Run: claims reported within reportInterval
}

// kind identifies claims that count as one within reportInterval. A busy holder sends requests for
// its clients many times a second; its announcements must not get lost among them, nor requests
// among answers, which prove less.
type kind struct {
	mac                [6]byte
	announces, answers bool
}

// NewListener returns a Listener without an interface.
func NewListener(opts ListenerOptions) *Listener {
	if opts.Observe == nil {
		opts.Observe = func(Event) {}
	}
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	if opts.Now == nil {
		opts.Now = boottime.Now
	}
	return &Listener{opts: opts, wake: make(chan struct{}, 1), reported: make(map[kind]boottime.Instant)}
}

// Watch sets the interface to listen on, 0 for none, and this node's MAC there. Watch does not wait
// for the socket. If nothing changed, Watch has no effect, except that an interface on which
// listening failed is tried again at once.
func (l *Listener) Watch(index int, mac net.HardwareAddr) {
	l.mu.Lock()
	if index != l.index {
		l.closeConn()
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
	failed := 0 // the interface whose failure was logged
	for ctx.Err() == nil {
		index, began := l.place(), l.opts.Now()
		err := l.listen(ctx, index)
		var retry <-chan time.Time
		if err != nil {
			// A socket that worked for a while had recovered from the logged failure.
			if index != failed || l.opts.Now().Sub(began) > retryAfter {
				l.opts.Log.Warn("not listening for claims", zap.Error(err), zap.Int("ifindex", index))
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

// listen reports claims on an interface. listen returns nil if the interface is none, or has
// changed.
func (l *Listener) listen(ctx context.Context, index int) error {
	if index == 0 {
		return nil
	}
	conn, err := l.open(ctx, index)
	if conn == nil || err != nil {
		return err
	}
	l.opts.Observe(Listening{Active: true})
	defer l.opts.Observe(Listening{Active: false})
	buf := make([]byte, 128)
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			if !l.end() {
				return nil // closed by Watch or the end of ctx
			}
			return fmt.Errorf("read frames: %w", err)
		}
		if l.hear(buf[:n]) {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(dropPause):
		}
	}
}

// open opens a socket that Watch and the end of ctx close. The result is nil if the interface has
// changed or ctx has ended meanwhile.
func (l *Listener) open(ctx context.Context, index int) (ReadConn, error) {
	conn, err := l.opts.Protocol.Listen(index, l.opts.Addresses)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() != nil || l.index != index {
		_ = conn.Close() // nothing else would close the socket
		return nil, nil
	}
	l.conn = conn
	l.opts.Log.Debug("listening for claims", zap.Int("ifindex", index))
	return conn, nil
}

// end closes the socket, and tells whether there was one.
func (l *Listener) end() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closeConn()
}

// closeConn closes the socket, which ends Run's read. The caller holds l.mu.
func (l *Listener) closeConn() bool {
	if l.conn == nil {
		return false
	}
	_ = l.conn.Close()
	l.conn = nil
	return true
}

// hear reports the claim in a frame if another machine made the claim, within the limits.
func (l *Listener) hear(frame []byte) (reported bool) {
	c, ok := l.opts.Protocol.Parse(frame)
	if !ok || !slices.Contains(l.opts.Addresses, c.Addr) || l.ours(c.MAC) {
		return false
	}
	now := l.opts.Now()
	maps.DeleteFunc(l.reported, func(_ kind, at boottime.Instant) bool { return now.Sub(at) >= reportInterval })
	one := kind{[6]byte(c.MAC), c.Announces, c.Answers}
	if _, before := l.reported[one]; before || len(l.reported) == maxMACs {
		return false
	}
	l.reported[one] = now
	l.opts.Observe(c)
	return true
}

func (l *Listener) ours(mac net.HardwareAddr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Equal(mac, l.mac)
}

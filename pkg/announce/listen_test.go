package announce

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/vipd-io/vipd/internal/bubble"
	"github.com/vipd-io/vipd/pkg/boottime"
)

// stranger returns the MAC of another machine, by number.
func stranger(n int) net.HardwareAddr {
	return binary.BigEndian.AppendUint32([]byte{2, 0x5a}, uint32(n))
}

// wire is a ReadConn of the present synctest bubble.
type wire struct {
	frames chan []byte
	broken chan error
	closed chan struct{}
}

func newWire() *wire {
	return &wire{frames: make(chan []byte), broken: make(chan error), closed: make(chan struct{})}
}

var errClosed = errors.New("use of closed connection")

func (w *wire) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case f := <-w.frames:
		return copy(b, f), nil, nil
	case err := <-w.broken:
		return 0, nil, err
	case <-w.closed:
		return 0, nil, errClosed
	}
}

func (w *wire) Close() error { close(w.closed); return nil }

func (w *wire) isClosed() bool {
	select {
	case <-w.closed:
		return true
	default:
		return false
	}
}

// bubbleClock is the clock of a synctest bubble.
func bubbleClock() boottime.Clock {
	start := time.Now()
	return func() boottime.Instant { return boottime.Instant(time.Since(start) + time.Hour) }
}

// TestFlood sends frames for a second as fast as the listener reads them.
func TestFlood(t *testing.T) {
	for name, c := range map[string]struct {
		macs int
		told int
	}{
		"one stranger":  {1, 20},
		"two strangers": {2, 40},
		"any number":    {1 << 30, 20 * maxMACs},
		"ourselves":     {0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := newWire()
				told := make(map[string]time.Time)
				n, sent := 0, 0
				l := NewListener(ListenerOptions{Now: bubbleClock(), Addresses: []netip.Addr{vip}, Observe: func(e Event) {
					c, ok := e.(Claim)
					if !ok {
						return
					}
					if at, ok := told[c.MAC.String()]; ok && time.Since(at) < reportInterval {
						t.Errorf("told again of %s after %s", c.MAC, time.Since(at))
					}
					told[c.MAC.String()] = time.Now()
					n++
				}, Protocol: text{listen: func(int) (ReadConn, error) { return w, nil }}})
				l.Watch(1, mac)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				go func() {
					for ; ctx.Err() == nil; sent++ {
						from := mac
						if c.macs > 0 {
							from = stranger(sent % c.macs)
						}
						select {
						case w.frames <- from:
						case <-ctx.Done():
						}
					}
				}()
				if err := l.Run(ctx); err != nil {
					t.Error(err)
				}
				synctest.Wait()
				if n < c.told*9/10 || n > c.told*11/10 {
					t.Errorf("told of %d claims, want about %d", n, c.told)
				}
				if most := n + int(time.Second/dropPause) + 2; sent > most {
					t.Errorf("%d frames read in a second, want %d at most", sent, most)
				}
			})
		})
	}
}

// TestTriesAgain: the listener tries to open its socket every second, and at once after Watch, and
// logs one warning per interface.
func TestTriesAgain(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.WarnLevel)
		var tried []int
		start := time.Now()
		var at []time.Duration
		l := NewListener(ListenerOptions{Now: bubbleClock(), Log: zap.New(core), Protocol: text{listen: func(index int) (ReadConn, error) {
			tried, at = append(tried, index), append(at, time.Since(start))
			return nil, errors.New("no such interface")
		}}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		time.Sleep(time.Minute) // there is nothing to listen on
		start = time.Now()
		for _, index := range []int{1, 1, 2, 0} {
			l.Watch(index, mac)
			time.Sleep(1500 * time.Millisecond)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		const half = 500 * time.Millisecond
		if want := []int{1, 1, 1, 1, 2, 2}; !slices.Equal(tried, want) {
			t.Errorf("tried interfaces %v, want %v", tried, want)
		}
		if want := []time.Duration{0, 2 * half, 3 * half, 5 * half, 6 * half, 8 * half}; !slices.Equal(at, want) {
			t.Errorf("tried at %v, want %v", at, want)
		}
		if n := logs.Len(); n != 2 {
			t.Errorf("%d warnings, want one for each interface: %v", n, logs.All())
		}
	})
}

// TestNoSocketIsLeft changes the interface and ends the listener at every moment: without an
// interface, while a socket is opened, while a socket is read.
func TestNoSocketIsLeft(t *testing.T) {
	for want, end := range map[int]time.Duration{0: 0, 1: 5 * time.Millisecond, 2: 15 * time.Millisecond, 3: 25 * time.Millisecond} {
		bubble.Test(t, func(t *testing.T) {
			var conns []*wire
			l := NewListener(ListenerOptions{Now: bubbleClock(), Protocol: text{listen: func(int) (ReadConn, error) {
				time.Sleep(10 * time.Millisecond)
				conns = append(conns, newWire())
				return conns[len(conns)-1], nil
			}}})
			ctx, cancel := context.WithTimeout(t.Context(), end)
			defer cancel()
			go func() {
				l.Watch(1, mac)
				time.Sleep(time.Millisecond)
				l.Watch(2, mac)
			}()
			if err := l.Run(ctx); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			if len(conns) != min(want, 2) {
				t.Errorf("%d sockets were opened until %s, want %d", len(conns), end, min(want, 2))
			}
			for _, w := range conns {
				if !w.isClosed() {
					t.Errorf("a socket is open after the end at %s", end)
				}
			}
			time.Sleep(time.Second)
		})
	}
}

// TestOneSocketAtATime: a change of the interface is no failure; the listener recovers from a
// failure.
func TestOneSocketAtATime(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.WarnLevel)
		var mu sync.Mutex
		var conns []*wire
		l := NewListener(ListenerOptions{Now: bubbleClock(), Log: zap.New(core), Protocol: text{listen: func(int) (ReadConn, error) {
			mu.Lock()
			defer mu.Unlock()
			conns = append(conns, newWire())
			return conns[len(conns)-1], nil
		}}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		defer func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}()
		check := func(what string, opened, open, warnings int) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			n := 0
			for _, w := range conns {
				if !w.isClosed() {
					n++
				}
			}
			if len(conns) != opened || n != open || logs.Len() != warnings {
				t.Errorf("%s: %d sockets opened, %d open, %d warnings, want %d, %d and %d",
					what, len(conns), n, logs.Len(), opened, open, warnings)
			}
		}
		check("at first", 0, 0, 0)
		l.Watch(1, mac)
		check("the first interface", 1, 1, 0)
		l.Watch(2, mac)
		check("the next", 2, 1, 0)
		l.Watch(2, stranger(1))
		check("another MAC", 2, 1, 0)
		l.Watch(0, nil)
		check("none", 2, 0, 0)
		l.Watch(2, mac)
		check("the former", 3, 1, 0)
		conns[2].broken <- errors.New("network is down")
		check("a failure", 3, 0, 1)
		time.Sleep(retryAfter)
		check("a second later", 4, 1, 1)
		conns[3].broken <- errors.New("network is down")
		check("the same again", 4, 0, 1)
		time.Sleep(time.Minute)
		check("a good while", 5, 1, 1)
		conns[4].broken <- errors.New("network is down")
		check("a failure after that", 5, 0, 2)
	})
}

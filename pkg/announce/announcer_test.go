package announce

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/vipd-io/vipd/internal/bubble"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	vip = netip.MustParseAddr("192.168.35.100")
	mac = net.HardwareAddr{0x02, 0, 0, 0, 0, 0x11}
)

// text is a Protocol without a network, whose messages are text. Package arp tests what really is
// sent and heard.
type text struct {
	conn   func() Conn
	listen func(index int) (ReadConn, error)
}

func (p text) Open(int) (Conn, error) { return p.conn(), nil }

func (p text) Announcements(addr netip.Addr, mac net.HardwareAddr) ([][]byte, error) {
	return [][]byte{[]byte(addr.String() + " is at " + mac.String()), []byte(addr.String() + " is still at " + mac.String())}, nil
}

func (p text) Question(_ Target, addr netip.Addr) ([]byte, error) {
	return []byte("who has " + addr.String()), nil
}

func (p text) Listen(index int, _ []netip.Addr) (ReadConn, error) { return p.listen(index) }

// Parse takes a frame for the MAC of a machine that claims vip.
func (p text) Parse(frame []byte) (Claim, bool) {
	return Claim{Addr: vip, MAC: frame, Answers: true}, len(frame) == len(mac)
}

// recorder is a Conn that records when frames were sent.
type recorder struct {
	start  time.Time
	at     []time.Duration
	frames [][]byte
	down   atomic.Bool
	open   *atomic.Int32
}

func (r *recorder) Send(f []byte) error {
	if r.down.Load() {
		return errors.New("network is down")
	}
	r.at = append(r.at, time.Since(r.start))
	r.frames = append(r.frames, f)
	return nil
}

func (r *recorder) SetWriteDeadline(time.Time) error { return nil }

func (r *recorder) Close() error { r.open.Add(-1); return nil }

// announcer runs an Announcer in the present synctest bubble.
func announcer(t *testing.T, r *recorder, o Options) *Announcer {
	t.Helper()
	r.start, r.open = time.Now(), new(atomic.Int32)
	o.Protocol = text{conn: func() Conn { r.open.Add(1); return r }}
	a := NewAnnouncer(o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := r.open.Load(); n != 0 {
			t.Errorf("%d sockets left open", n)
		}
	})
	return a
}

func always() bool { return true }

var target = Target{MAC: mac, Addresses: []netip.Addr{vip}}

func TestSchedule(t *testing.T) {
	for repeatFor, want := range map[time.Duration][]int{
		0:               {0, 100, 300, 1200, 2200, 3200, 4200, 5200, 35200, 65200},
		8 * time.Second: {0, 100, 300, 1200, 2200, 3200, 4200, 5200, 6200, 7200, 8200, 38200},
	} {
		t.Run(repeatFor.String(), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				var r recorder
				a := announcer(t, &r, Options{Holds: always, RepeatFor: repeatFor})
				for range 2 { // the second time gives the same as the first
					a.Announce(target)
					time.Sleep(time.Duration(want[len(want)-1])*time.Millisecond + time.Second)
					synctest.Wait()
					var at []time.Duration
					for _, ms := range want {
						d := time.Duration(ms) * time.Millisecond
						at = append(at, d, d) // both forms
					}
					if !slices.Equal(r.at, at) {
						t.Errorf("frames at %v, want %v", r.at, at)
					}
					r.start, r.at = time.Now(), nil
				}
			})
		})
	}
}

func TestDefend(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var r recorder
		var lost atomic.Bool
		a := announcer(t, &r, Options{Holds: func() bool { return !lost.Load() }})
		a.Defend() // nothing is announced yet, so nothing is sent
		a.Announce(target)
		time.Sleep(10 * time.Second)
		a.Defend()
		a.Defend()
		time.Sleep(26 * time.Second)
		lost.Store(true)
		a.Defend()
		lost.Store(false)
		a.Silence()
		a.Defend()
		synctest.Wait()
		// A defence does not change the time of the refresh.
		ms := []int{0, 100, 300, 1200, 2200, 3200, 4200, 5200, 10000, 10000, 35200}
		var want []time.Duration
		for _, m := range ms {
			d := time.Duration(m) * time.Millisecond
			want = append(want, d, d)
		}
		if !slices.Equal(r.at, want) {
			t.Errorf("frames at %v, want %v", r.at, want)
		}
	})
}

func TestProbe(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.WarnLevel)
		var r recorder
		a := announcer(t, &r, Options{Holds: func() bool { return false }, Log: zap.New(core)})
		two := target
		two.Addresses = []netip.Addr{vip, netip.MustParseAddr("192.168.35.101")}
		a.Probe(two)
		want := [][]byte{[]byte("who has 192.168.35.100"), []byte("who has 192.168.35.101")}
		if diff := cmp.Diff(want, r.frames); diff != "" {
			t.Errorf("probes (-want +got):\n%s", diff)
		}
		if n := r.open.Load(); n != 0 {
			t.Errorf("%d sockets left open by a probe", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(r.frames) != 2 {
			t.Errorf("%d frames followed a probe", len(r.frames)-2)
		}
		r.down.Store(true)
		a.Probe(two)
		a.Probe(two)
		if n := logs.Len(); n != 1 {
			t.Errorf("%d warnings of two probes that failed, want 1", n)
		}
	})
}

func TestProbeKeepsOutOfAnAnnouncement(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var r recorder
		a := announcer(t, &r, Options{Holds: always})
		a.Announce(target)
		a.Probe(target)
		if len(r.frames) != 2 || r.open.Load() != 1 {
			t.Errorf("%d frames and %d sockets after a probe while announcing, want 2 and 1", len(r.frames), r.open.Load())
		}
		a.Silence()
		a.Probe(target)
		if len(r.frames) != 3 {
			t.Errorf("%d frames by a probe after Silence, want 1", len(r.frames)-2)
		}
	})
}

func TestSilenceAndLostOwnershipSendNothing(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var r recorder
		var mine atomic.Bool
		mine.Store(true)
		a := announcer(t, &r, Options{Holds: mine.Load})
		a.Announce(target)
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		mine.Store(false)
		sent := len(r.at)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(r.at) != sent {
			t.Errorf("%d frames after ownership was lost", len(r.at)-sent)
		}
		mine.Store(true)
		a.Silence()
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(r.at) != sent {
			t.Errorf("%d frames after Silence", len(r.at)-sent)
		}
		a.Announce(target)
		if len(r.at) != sent+2 {
			t.Errorf("Announce sent %d frames before it returned, want 2", len(r.at)-sent)
		}
	})
}

func TestRetriesAfterAnError(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var r recorder
		r.down.Store(true)
		a := announcer(t, &r, Options{Holds: always})
		a.Announce(target)
		time.Sleep(50 * time.Millisecond)
		r.down.Store(false)
		time.Sleep(time.Second)
		synctest.Wait()
		if len(r.at) != 4 {
			t.Errorf("%d frames after the link came back, want those at 100 and 300 ms", len(r.at))
		}
	})
}

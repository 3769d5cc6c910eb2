package arp

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/packet"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/vipd-io/vipd/internal/bubble"
	"github.com/vipd-io/vipd/internal/nstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	vip = netip.MustParseAddr("192.168.35.100")
	mac = net.HardwareAddr{0x02, 0, 0, 0, 0, 0x11}
)

func TestFrames(t *testing.T) {
	frames, err := gratuitous(vip, mac)
	if err != nil {
		t.Fatal(err)
	}
	const pad = "000000000000000000000000000000000000"
	want := []string{
		"ffffffffffff020000000011" + "0806" + "0001080006040001" + "020000000011c0a82364" + "000000000000c0a82364" + pad,
		"ffffffffffff020000000011" + "0806" + "0001080006040002" + "020000000011c0a82364" + "020000000011c0a82364" + pad,
	}
	for i, f := range frames {
		if got := hex.EncodeToString(f); got != want[i] {
			t.Errorf("frame %d\n got %s\nwant %s", i, got, want[i])
		}
		c, ok := Parse(f)
		if !ok || c.Addr != vip || !bytes.Equal(c.MAC, mac) {
			t.Errorf("Parse of frame %d = %v, %t", i, c, ok)
		}
	}
	ask, err := probe(vip, mac)
	if err != nil {
		t.Fatal(err)
	}
	const wantProbe = "ffffffffffff020000000011" + "0806" + "0001080006040001" + "02000000001100000000" + "000000000000c0a82364" + pad
	if got := hex.EncodeToString(ask); got != wantProbe {
		t.Errorf("probe\n got %s\nwant %s", got, wantProbe)
	}
	if c, ok := Parse(ask); ok {
		t.Errorf("Parse of a probe = %v", c)
	}
	if _, err := gratuitous(netip.MustParseAddr("fd00::1"), mac); err == nil {
		t.Error("an IPv6 address was put into an ARP packet")
	}
	if _, err := gratuitous(vip, mac[:2]); err == nil {
		t.Error("a MAC of two bytes was put into an ARP packet")
	}
}

func FuzzParse(f *testing.F) {
	frames, err := gratuitous(vip, mac)
	if err != nil {
		f.Fatal(err)
	}
	for _, b := range frames {
		f.Add(b)
		f.Add(b[:20])
		tagged := slices.Concat(b[:12], []byte{0x81, 0, 0, 5}, b[12:])
		f.Add(tagged)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, ok := Parse(b)
		if ok && (!c.Addr.Is4() || c.Addr.IsUnspecified() || len(c.MAC) != 6) {
			t.Errorf("Parse(%x) = %v", b, c)
		}
	})
}

// recorder is a Conn that records when frames were sent.
type recorder struct {
	start  time.Time
	at     []time.Duration
	frames [][]byte
	down   atomic.Bool
	open   *atomic.Int32
}

func (r *recorder) WriteTo(f []byte, _ net.Addr) (int, error) {
	if r.down.Load() {
		return 0, errors.New("network is down")
	}
	r.at = append(r.at, time.Since(r.start))
	r.frames = append(r.frames, f)
	return len(f), nil
}

func (r *recorder) SetWriteDeadline(time.Time) error { return nil }

func (r *recorder) Close() error { r.open.Add(-1); return nil }

// announcer runs an Announcer in the present synctest bubble.
func announcer(t *testing.T, r *recorder, o Options) *Announcer {
	t.Helper()
	r.start, r.open = time.Now(), new(atomic.Int32)
	o.Listen = func(int) (Conn, error) { r.open.Add(1); return r, nil }
	a := New(o)
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
						at = append(at, d, d) // request and reply
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
		var want [][]byte
		for _, addr := range two.Addresses {
			f, err := probe(addr, mac)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, f)
		}
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

// TestNeighbourLearns announces on a real link, and checks the frames and the kernel's neighbour
// entry on the other end.
func TestNeighbourLearns(t *testing.T) {
	node, client := nstest.New(t), nstest.New(t)
	nstest.Pair(t, node, client, "192.168.35.11/24", "192.168.35.50/24")
	link := node.Link("eth0").Attrs()
	heard := client.Frames("eth0", nstest.EtherTypeARP)
	client.SetNeighbour("eth0", vip, net.HardwareAddr{2, 0, 0, 0, 0, 0x99})

	a := New(Options{Holds: always, Listen: func(index int) (c Conn, err error) {
		err = node.Do(func() error { c, err = open(index, 0, nil); return err })
		return c, err
	}})
	a.Announce(Target{Index: link.Index, MAC: link.HardwareAddr, Addresses: []netip.Addr{vip}})
	defer a.Silence()

	_ = heard.SetReadDeadline(time.Now().Add(5 * time.Second))
	for range 2 {
		readClaim(t, heard, link.HardwareAddr)
	}
	if got := client.Neighbour("eth0", vip); !bytes.Equal(got, link.HardwareAddr) {
		t.Errorf("neighbour entry = %s, want %s", got, link.HardwareAddr)
	}
}

// readClaim waits for a frame that claims the VIP for mac.
func readClaim(t *testing.T, c *packet.Conn, mac net.HardwareAddr) {
	t.Helper()
	buf := make([]byte, 128)
	for {
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			t.Fatalf("wait for an announcement: %v", err)
		}
		if claim, ok := Parse(buf[:n]); ok && claim.Addr == vip && bytes.Equal(claim.MAC, mac) {
			return
		}
	}
}

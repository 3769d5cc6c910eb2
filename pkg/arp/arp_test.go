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

	"github.com/mdlayher/packet"
	"go.uber.org/goleak"

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

// recorder is a Conn that notes when frames were sent.
type recorder struct {
	start time.Time
	at    []time.Duration
	down  atomic.Bool
	open  *atomic.Int32
}

func (r *recorder) WriteTo(f []byte, _ net.Addr) (int, error) {
	if r.down.Load() {
		return 0, errors.New("network is down")
	}
	r.at = append(r.at, time.Since(r.start))
	return len(f), nil
}

func (r *recorder) Close() error { r.open.Add(-1); return nil }

// announcer runs one in the present synctest bubble.
func announcer(t *testing.T, r *recorder, mine func() bool) *Announcer {
	t.Helper()
	r.start, r.open = time.Now(), new(atomic.Int32)
	a := New(Options{Mine: mine, Listen: func(int) (Conn, error) { r.open.Add(1); return r, nil }})
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

func TestSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		a := announcer(t, &r, always)
		a.Announce(Target{MAC: mac, Addresses: []netip.Addr{vip}})
		time.Sleep(66 * time.Second)
		synctest.Wait()
		ms := []int{0, 100, 300, 1200, 2500, 5000, 35000, 65000}
		var want []time.Duration
		for _, m := range ms {
			d := time.Duration(m) * time.Millisecond
			want = append(want, d, d) // request and reply
		}
		if !slices.Equal(r.at, want) {
			t.Errorf("frames at %v, want %v", r.at, want)
		}
	})
}

func TestSilenceAndLostOwnershipSendNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		var mine atomic.Bool
		mine.Store(true)
		a := announcer(t, &r, mine.Load)
		a.Announce(Target{MAC: mac, Addresses: []netip.Addr{vip}})
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
		a.Announce(Target{MAC: mac, Addresses: []netip.Addr{vip}})
		if len(r.at) != sent+2 {
			t.Errorf("Announce sent %d frames before it returned, want 2", len(r.at)-sent)
		}
	})
}

func TestRetriesAfterAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		r.down.Store(true)
		a := announcer(t, &r, always)
		a.Announce(Target{MAC: mac, Addresses: []netip.Addr{vip}})
		time.Sleep(50 * time.Millisecond)
		r.down.Store(false)
		time.Sleep(time.Second)
		synctest.Wait()
		if len(r.at) != 4 {
			t.Errorf("%d frames after the link came back, want those at 100 and 300 ms", len(r.at))
		}
	})
}

// TestNeighbourLearns announces on a real link and looks at the frames and at
// the kernel's neighbour entry on the other end.
func TestNeighbourLearns(t *testing.T) {
	node, client := nstest.New(t), nstest.New(t)
	nstest.Pair(t, node, client, "192.168.35.11/24", "192.168.35.50/24")
	link := node.Link("eth0").Attrs()
	heard := client.Frames("eth0", nstest.EtherTypeARP)
	client.SetNeighbour("eth0", vip, net.HardwareAddr{2, 0, 0, 0, 0, 0x99})

	a := New(Options{Mine: always, Listen: func(index int) (c Conn, err error) {
		err = node.Do(func() error { c, err = listen(index); return err })
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

package arp

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/packet"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/vipd-io/vipd/internal/nstest"
	"github.com/vipd-io/vipd/pkg/announce"
)

// within is how long a test waits for an event that must come.
const within = 10 * time.Second

// segmentAddresses are the addresses whose claims are reported.
var segmentAddresses = []netip.Addr{netip.MustParseAddr("192.168.35.101"), vip}

// segment is a node that listens and a peer, on a link.
type segment struct {
	t          *testing.T
	node, peer *nstest.NS
	link       net.Interface // the node's
	listener   *announce.Listener
	opened     chan int // index of each socket that was opened
	heard      chan announce.Claim
	logs       *observer.ObservedLogs
}

func newSegment(t *testing.T) *segment {
	t.Helper()
	core, logs := observer.New(zap.WarnLevel)
	s := &segment{t: t, node: nstest.New(t), peer: nstest.New(t),
		opened: make(chan int, 64), heard: make(chan announce.Claim, 64), logs: logs}
	s.connect()
	s.listener = announce.NewListener(announce.ListenerOptions{
		Protocol:  inNS{ns: s.node, opened: s.opened},
		Addresses: segmentAddresses,
		Observe: func(e announce.Event) {
			if c, ok := e.(announce.Claim); ok {
				s.heard <- c
			}
		},
		Log: zap.New(core),
	})
	return s
}

// connect connects node and peer by a new link.
func (s *segment) connect() {
	s.t.Helper()
	nstest.Pair(s.t, s.node, s.peer, "192.168.35.11/24", "192.168.35.12/24")
	l := s.node.Link("eth0").Attrs()
	s.link = net.Interface{Index: l.Index, HardwareAddr: l.HardwareAddr}
}

// run runs the listener until the test ends.
func (s *segment) run() {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan error, 1)
	go func() { done <- s.listener.Run(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				s.t.Error(err)
			}
		case <-time.After(within):
			s.t.Error("Run did not end with its context")
		}
	})
}

// watch makes the listener watch the node's present link, and waits until it listens.
func (s *segment) watch() {
	s.t.Helper()
	s.listener.Watch(s.link.Index, s.link.HardwareAddr)
	s.waitOpened()
}

func (s *segment) waitOpened() {
	s.t.Helper()
	for {
		select {
		case index := <-s.opened:
			if index == s.link.Index {
				return
			}
		case <-time.After(within):
			s.t.Fatal("no socket was opened")
		}
	}
}

// want waits for the next claim.
func (s *segment) want(mac net.HardwareAddr) {
	s.t.Helper()
	select {
	case c := <-s.heard:
		if !bytes.Equal(c.MAC, mac) {
			s.t.Errorf("heard %s claim %s, want %s", c.MAC, c.Addr, mac)
		}
	case <-time.After(within):
		s.t.Fatalf("no claim by %s was heard", mac)
	}
}

// provoke repeats what makes mac claim the VIP until the claim is reported: a link that was just
// set up loses frames until its queue exists.
func (s *segment) provoke(mac net.HardwareAddr, do func()) {
	s.t.Helper()
	late := time.After(within)
	for {
		do()
		select {
		case c := <-s.heard:
			if !bytes.Equal(c.MAC, mac) {
				s.t.Errorf("heard %s claim %s, want %s", c.MAC, c.Addr, mac)
			}
			return
		case <-time.After(100 * time.Millisecond):
		case <-late:
			s.t.Fatalf("no claim by %s was heard", mac)
		}
	}
}

// socket opens a socket that sends on a node's link.
func socket(t *testing.T, ns *nstest.NS) *packet.Conn {
	t.Helper()
	return ns.Frames("eth0", 0)
}

func send(t *testing.T, c *packet.Conn, frame []byte) {
	t.Helper()
	to := &packet.Addr{HardwareAddr: net.HardwareAddr(frame[:6])}
	if _, err := c.WriteTo(frame, to); err != nil {
		t.Fatalf("send frame: %v", err)
	}
}

// claim builds a claim to addr, a reply to a host that does not exist.
func claim(t *testing.T, addr netip.Addr, mac net.HardwareAddr) []byte {
	t.Helper()
	f, err := frame(arp.OperationReply, mac, addr, make(net.HardwareAddr, 6), netip.MustParseAddr("192.168.35.77"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// stranger returns the MAC of another machine, by number.
func stranger(n int) net.HardwareAddr {
	return binary.BigEndian.AppendUint32([]byte{2, 0x5a}, uint32(n))
}

func TestReportsClaimsOfOthers(t *testing.T) {
	s := newSegment(t)
	s.run()
	s.watch()
	c := socket(t, s.peer)
	frames, err := gratuitous(vip, stranger(1))
	if err != nil {
		t.Fatal(err)
	}
	send(t, c, frames[0])
	s.want(stranger(1))
	frames, err = gratuitous(vip, stranger(2))
	if err != nil {
		t.Fatal(err)
	}
	send(t, c, frames[1])
	s.want(stranger(2))
	send(t, c, claim(t, vip, stranger(3)))
	s.want(stranger(3))
	send(t, c, claim(t, netip.MustParseAddr("192.168.35.101"), stranger(4)))
	s.want(stranger(4))
	unpadded := claim(t, vip, stranger(5))[:42]
	send(t, c, unpadded)
	s.want(stranger(5))
	// A unicast reply to the node, like the answer to its probe.
	direct := claim(t, vip, stranger(6))
	copy(direct, s.link.HardwareAddr)
	send(t, c, direct)
	s.want(stranger(6))
}

// changed returns a claim with some of its bytes replaced.
func changed(t *testing.T, at int, b ...byte) []byte {
	t.Helper()
	f := claim(t, vip, mac)
	copy(f[at:], b)
	return f
}

// noClaims lists frames without a claim of the VIP that a filter on their bytes can recognize.
func noClaims(t *testing.T) [][]byte {
	t.Helper()
	ask, err := probe(vip, mac)
	if err != nil {
		t.Fatal(err)
	}
	return [][]byte{
		ask,
		claim(t, netip.MustParseAddr("192.168.35.12"), mac),
		claim(t, vip, mac)[:30],
		changed(t, 12, 0x08, 0x00), // not ARP
		changed(t, 14, 0, 6),       // IEEE 802 hardware
		changed(t, 16, 0x86, 0xdd), // not IPv4
		changed(t, 18, 8),          // hardware addresses of 8 bytes
	}
}

func TestParseRefuses(t *testing.T) {
	for i, f := range noClaims(t) {
		if c, ok := Parse(f); ok && c.Addr == vip {
			t.Errorf("Parse of frame %d = %v", i, c)
		}
	}
}

// TestIgnoresTheRest sends each frame before a claim; only the claim is reported.
func TestIgnoresTheRest(t *testing.T) {
	s := newSegment(t)
	s.run()
	s.watch()
	c := socket(t, s.peer)
	for i, f := range append(noClaims(t),
		claim(t, vip, s.link.HardwareAddr),
		claim(t, vip, mac)[:40],
		changed(t, 0, 2, 9, 9, 9, 9, 9),
		slices.Insert(changed(t, 0), 12, 0x81, 0, 0, 5), // a frame of another VLAN
	) {
		send(t, c, f)
		send(t, c, claim(t, vip, stranger(i)))
		t.Logf("frame %d", i)
		s.want(stranger(i))
	}
	// A frame with VLAN 0 has only a priority, and is for the interface.
	send(t, c, slices.Insert(changed(t, 0), 12, 0x81, 0, 0xe0, 0))
	s.want(mac)
}

// TestFilter reads the socket itself: frames that pass the filter cost time.
func TestFilter(t *testing.T) {
	s := newSegment(t)
	conn, err := inNS{ns: s.node}.Listen(s.link.Index, segmentAddresses)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.(*packet.Conn).SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	c := socket(t, s.peer)
	for i, f := range noClaims(t) {
		send(t, c, f)
		last := claim(t, vip, stranger(i))
		send(t, c, last)
		buf := make([]byte, 128)
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(buf[:n], last) {
			t.Errorf("frame %d passed the filter: %x", i, buf[:n])
		}
	}
}

// TestIgnoresItsOwnFrames: the listener reports neither announcements nor probes of its own host,
// nor frames that the host sent with another sender address.
func TestIgnoresItsOwnFrames(t *testing.T) {
	s := newSegment(t)
	s.run()
	s.watch()
	a := announce.NewAnnouncer(announce.Options{Protocol: inNS{ns: s.node}, Holds: always})
	here := announce.Target{Index: s.link.Index, MAC: s.link.HardwareAddr, Addresses: []netip.Addr{vip}}
	a.Probe(here)
	a.Announce(here)
	defer a.Silence()
	a.Defend()
	send(t, socket(t, s.node), claim(t, vip, mac))
	send(t, socket(t, s.peer), claim(t, vip, stranger(0)))
	s.want(stranger(0))
	if n := len(s.heard); n != 0 {
		t.Errorf("%d more claims heard", n)
	}
}

// TestProbeIsAnswered: a kernel that has the address answers the probe. In this way, a candidate
// finds an unknown holder before the first claim.
func TestProbeIsAnswered(t *testing.T) {
	s := newSegment(t)
	s.run()
	s.watch()
	s.peer.AddAddr("eth0", vip.String()+"/32")
	a := announce.NewAnnouncer(announce.Options{Protocol: inNS{ns: s.node}, Holds: always})
	here := announce.Target{Index: s.link.Index, MAC: s.link.HardwareAddr, Addresses: []netip.Addr{vip}}
	s.provoke(s.peer.Link("eth0").Attrs().HardwareAddr, func() { a.Probe(here) })
	if got := s.peer.Neighbour("eth0", vip); got != nil {
		t.Errorf("the probe left a neighbour entry: %s", got)
	}
}

func TestListensAgainOnANewLink(t *testing.T) {
	s := newSegment(t)
	s.run()
	s.watch()
	if err := s.node.Links.LinkDel(s.node.Link("eth0")); err != nil {
		t.Fatal(err)
	}
	former := s.link.Index
	s.connect()
	if s.link.Index == former {
		t.Fatal("the new link has the former one's index")
	}
	s.watch()
	send(t, socket(t, s.peer), claim(t, vip, stranger(1)))
	s.want(stranger(1))
	// The node's own MAC may change, too.
	s.listener.Watch(s.link.Index, stranger(2))
	send(t, socket(t, s.peer), claim(t, vip, stranger(2)))
	send(t, socket(t, s.peer), claim(t, vip, stranger(3)))
	s.want(stranger(3))
	if n := len(s.opened); n != 0 {
		t.Errorf("%d more sockets opened for the same link", n)
	}
}

func TestListensAgainAfterTheLinkWasDown(t *testing.T) {
	s := newSegment(t)
	s.run()
	s.watch()
	s.node.Down("eth0")
	s.waitOpened() // tried again
	s.waitOpened()
	s.node.Up("eth0")
	c := socket(t, s.peer)
	s.provoke(stranger(1), func() { send(t, c, claim(t, vip, stranger(1))) })
	if n := s.logs.Len(); n != 1 {
		t.Errorf("%d warnings of one link that was down: %v", n, s.logs.All())
	}
}

package ndp

import (
	"bytes"
	"context"
	"encoding/hex"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"github.com/vipd-io/vipd/internal/nstest"
	"github.com/vipd-io/vipd/pkg/announce"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// within is how long a test waits for an event that must come.
const within = 10 * time.Second

var (
	vip   = netip.MustParseAddr("fd00:35::100")
	other = netip.MustParseAddr("fd00:35::101")
	here  = netip.MustParseAddr("fd00:35::11")
	there = netip.MustParseAddr("fd00:35::12")
	mac   = net.HardwareAddr{0x02, 0, 0, 0, 0, 0x11}
)

// TestMessages compares with packets whose fields are written out. The checksums are those that tcpdump
// calls correct.
func TestMessages(t *testing.T) {
	const (
		v  = "fd000035000000000000000000000100"
		me = "fd000035000000000000000000000011"
	)
	got, err := advertisement(vip, mac)
	if err != nil {
		t.Fatal(err)
	}
	want := "60000000" + "0020" + "3a" + "ff" + v + "ff020000000000000000000000000001" + "8800" + checksum(got) + "20000000" + v + "0201020000000011"
	if hex.EncodeToString(got) != want {
		t.Errorf("advertisement\n got %x\nwant %s", got, want)
	}
	got, err = solicitation(here, vip, mac)
	if err != nil {
		t.Fatal(err)
	}
	want = "60000000" + "0020" + "3a" + "ff" + me + "ff0200000000000000000001ff000100" + "8700" + checksum(got) + "00000000" + v + "0101020000000011"
	if hex.EncodeToString(got) != want {
		t.Errorf("solicitation\n got %x\nwant %s", got, want)
	}
	for _, wrong := range []netip.Addr{netip.MustParseAddr("192.168.35.100"), netip.MustParseAddr("::ffff:192.168.35.100"), {}} {
		if _, err := advertisement(wrong, mac); err == nil {
			t.Errorf("%s was put into a message", wrong)
		}
	}
}

// checksum computes the checksum of a packet by RFC 4443 section 2.3.
func checksum(b []byte) string {
	pseudo := slices.Concat(b[fromOffset:headerSize], []byte{0, 0, b[4], b[5], 0, 0, 0, b[nextOffset]}, b[headerSize:headerSize+2], []byte{0, 0}, b[headerSize+4:])
	sum := uint32(0)
	for i := 0; i < len(pseudo); i += 2 {
		sum += uint32(pseudo[i])<<8 | uint32(pseudo[i+1])
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return hex.EncodeToString([]byte{byte(^sum >> 8), byte(^sum)})
}

// framed returns a packet as a frame to a host.
func framed(t testing.TB, from, to net.HardwareAddr, packet []byte, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	f := ethernet.Frame{Destination: to, Source: from, EtherType: ethernet.EtherTypeIPv6, Payload: packet}
	b, err := f.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// everybody is the MAC of ff02::1.
var everybody = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}

func frame(t testing.TB, packet []byte, err error) []byte {
	t.Helper()
	return framed(t, mac, everybody, packet, err)
}

func answer(to netip.Addr, options ...ndp.Option) ([]byte, error) {
	return message(vip, to, &ndp.NeighborAdvertisement{Solicited: true, TargetAddress: vip, Options: options})
}

// detection is what a host sends that is about to use addr.
func detection(addr netip.Addr) ([]byte, error) {
	return message(netip.IPv6Unspecified(), allNodes, &ndp.NeighborSolicitation{TargetAddress: addr})
}

func patched(b []byte, err error, at int, with byte) ([]byte, error) {
	b = slices.Clone(b)
	b[at] = with
	return b, err
}

// example is a frame, and the claim in it.
type example struct {
	name  string
	frame []byte
	want  announce.Claim // the zero claim for none
}

func examples(t testing.TB) []example {
	t.Helper()
	one := func(name string, want announce.Claim) func([]byte, error) example {
		return func(b []byte, err error) example { t.Helper(); return example{name, frame(t, b, err), want} }
	}
	none := announce.Claim{}
	announced, err := advertisement(vip, mac)
	return []example{
		one("announcement", announce.Claim{Addr: vip, MAC: mac, Announces: true})(announced, err),
		one("answer", announce.Claim{Addr: vip, MAC: mac, Answers: true, To: here})(answer(here, &ndp.LinkLayerAddress{Direction: ndp.Target, Addr: mac})),
		one("answer without an option", announce.Claim{Addr: vip, MAC: mac, Answers: true, To: here})(answer(here)),
		one("duplicate address detection", announce.Claim{Addr: vip, MAC: mac})(detection(vip)),
		one("a question from the address", announce.Claim{Addr: vip, MAC: mac})(solicitation(vip, there, mac)),
		one("a question for the address", none)(solicitation(there, vip, mac)),
		one("another address", none)(advertisement(other, mac)),
		one("detection of another address", none)(detection(other)),
		one("forwarded by a router", none)(patched(announced, err, hopLimitOffset, 64)),
		one("another protocol", none)(patched(announced, err, nextOffset, 17)),
		one("another message", none)(patched(announced, err, headerSize, 128)),
		one("cut off", none)(announced[:50], err),
		{"not IPv6", slices.Concat(frame(t, announced, err)[:12], []byte{0x08, 0x00}, announced), none},
	}
}

func TestParse(t *testing.T) {
	for _, tt := range examples(t) {
		c, ok := Parse(tt.frame)
		if tt.want.MAC == nil {
			if ok && c.Addr == vip {
				t.Errorf("%s: %+v", tt.name, c)
			}
			continue
		}
		if !ok || c.Addr != tt.want.Addr || !bytes.Equal(c.MAC, tt.want.MAC) || c.Announces != tt.want.Announces || c.Answers != tt.want.Answers || c.To != tt.want.To {
			t.Errorf("%s: %+v, want %+v", tt.name, c, tt.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, e := range examples(f) {
		f.Add(e.frame)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, ok := Parse(b)
		if ok && (!c.Addr.Is6() || c.Addr.IsMulticast() || len(c.MAC) != 6) {
			t.Errorf("Parse(%x) = %v", b, c)
		}
	})
}

// inNS is Neighbour Discovery in a network namespace.
type inNS struct {
	Protocol
	ns     *nstest.NS
	opened chan<- struct{} // nil for none
}

func (p inNS) Open(index int) (c announce.Conn, err error) {
	err = p.ns.Do(func() error { c, err = p.Protocol.Open(index); return err })
	return c, err
}

func (p inNS) Listen(index int, addresses []netip.Addr) (c announce.ReadConn, err error) {
	err = p.ns.Do(func() error { c, err = p.Protocol.Listen(index, addresses); return err })
	if p.opened != nil {
		p.opened <- struct{}{}
	}
	return c, err
}

// pair returns a node and a peer on a link.
func pair(t *testing.T) (node, peer *nstest.NS) {
	t.Helper()
	node, peer = nstest.New(t), nstest.New(t)
	nstest.Pair(t, node, peer, here.String()+"/64", there.String()+"/64")
	return node, peer
}

func always() bool { return true }

// TestNeighbourLearns announces on a real link: the kernel on the other end replaces the MAC that it
// knows.
func TestNeighbourLearns(t *testing.T) {
	node, peer := pair(t)
	node.AddAddr("eth0", vip.String()+"/128")
	peer.SetNeighbour("eth0", vip, net.HardwareAddr{2, 0, 0, 0, 0, 0x99})
	link := node.Link("eth0").Attrs()
	a := announce.NewAnnouncer(announce.Options{Protocol: inNS{ns: node}, Holds: always, Log: zaptest.NewLogger(t)})
	defer a.Silence()
	late := time.After(within)
	for !bytes.Equal(peer.Neighbour("eth0", vip), link.HardwareAddr) {
		a.Announce(announce.Target{Index: link.Index, MAC: link.HardwareAddr, Addresses: []netip.Addr{vip}})
		select {
		case <-late:
			t.Fatalf("neighbour entry = %s, want %s", peer.Neighbour("eth0", vip), link.HardwareAddr)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// TestQuestionIsAnswered: a kernel that has the address answers, and so does one that got the address
// without duplicate address detection. The question claims nothing.
func TestQuestionIsAnswered(t *testing.T) {
	node, peer := pair(t)
	peer.AddAddr("eth0", vip.String()+"/128")
	heard := listen(t, node)
	link := node.Link("eth0").Attrs()
	a := announce.NewAnnouncer(announce.Options{Protocol: inNS{ns: node}, Holds: always, Log: zaptest.NewLogger(t)})
	late := time.After(within)
	for {
		a.Probe(announce.Target{Index: link.Index, MAC: link.HardwareAddr, Addresses: []netip.Addr{vip}, Own: here})
		select {
		case c := <-heard:
			if c.Addr != vip || !bytes.Equal(c.MAC, peer.Link("eth0").Attrs().HardwareAddr) || !c.Answers || c.To != here {
				t.Errorf("heard %+v", c)
			}
			return
		case <-time.After(100 * time.Millisecond):
		case <-late:
			t.Fatal("no answer")
		}
	}
}

// TestNoOwnAddress: a question that nobody could answer is an error, not silence.
func TestNoOwnAddress(t *testing.T) {
	if _, err := (Protocol{}).Question(announce.Target{Index: 1, MAC: mac}, vip); err == nil {
		t.Error("a question without a sender")
	}
}

// listen reports the claims of the VIP that a node hears.
func listen(t *testing.T, ns *nstest.NS) <-chan announce.Claim {
	t.Helper()
	heard, opened := make(chan announce.Claim, 64), make(chan struct{}, 1)
	l := announce.NewListener(announce.ListenerOptions{Protocol: inNS{ns: ns, opened: opened}, Addresses: []netip.Addr{netip.MustParseAddr("192.168.35.100"), netip.MustParseAddr("fd00:35::200"), vip},
		Observe: func(e announce.Event) {
			if c, ok := e.(announce.Claim); ok {
				heard <- c
			}
		}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	link := ns.Link("eth0").Attrs()
	l.Watch(link.Index, link.HardwareAddr)
	<-opened
	return heard
}

// TestFilter reads the socket itself: exactly the frames in which Parse finds a claim of the VIP pass.
func TestFilter(t *testing.T) {
	node, peer := pair(t)
	conn, err := inNS{ns: node}.Listen(node.Link("eth0").Attrs().Index, []netip.Addr{netip.MustParseAddr("fd00:35::200"), vip})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.(*packet.Conn).SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	out := peer.Frames("eth0", 0)
	send := func(f []byte) {
		if _, err := out.WriteTo(f, &packet.Addr{HardwareAddr: net.HardwareAddr(f[:6])}); err != nil {
			t.Fatal(err)
		}
	}
	marker := framed(t, net.HardwareAddr{2, 0, 0, 0, 0, 0x77}, everybody, examples(t)[0].frame[14:], nil)
	buf := make([]byte, 256)
	read := func() []byte {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		return buf[:n]
	}
	for _, tt := range examples(t) {
		send(tt.frame)
		send(marker)
		first := read()
		passed := !bytes.Equal(first, marker)
		if passed != (tt.want.MAC != nil) {
			t.Errorf("%s: passed the filter: %t", tt.name, passed)
		}
		if passed {
			read()
		}
	}
}

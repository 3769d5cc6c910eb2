package arp

import (
	"bytes"
	"encoding/hex"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"go.uber.org/goleak"

	"github.com/vipd-io/vipd/internal/nstest"
	"github.com/vipd-io/vipd/pkg/announce"
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

// inNS is ARP in a network namespace. opened, if set, gets the index of each interface that is
// listened on.
type inNS struct {
	Protocol
	ns     *nstest.NS
	opened chan<- int
}

func (p inNS) Open(index int) (c announce.Conn, err error) {
	err = p.ns.Do(func() error { c, err = p.Protocol.Open(index); return err })
	return c, err
}

func (p inNS) Listen(index int, addresses []netip.Addr) (c announce.ReadConn, err error) {
	err = p.ns.Do(func() error { c, err = p.Protocol.Listen(index, addresses); return err })
	if err == nil && p.opened != nil {
		p.opened <- index
	}
	return c, err
}

func always() bool { return true }

// TestNeighbourLearns announces on a real link, and checks the frames and the kernel's neighbour
// entry on the other end.
func TestNeighbourLearns(t *testing.T) {
	node, client := nstest.New(t), nstest.New(t)
	nstest.Pair(t, node, client, "192.168.35.11/24", "192.168.35.50/24")
	link := node.Link("eth0").Attrs()
	heard := client.Frames("eth0", nstest.EtherTypeARP)
	client.SetNeighbour("eth0", vip, net.HardwareAddr{2, 0, 0, 0, 0, 0x99})

	a := announce.NewAnnouncer(announce.Options{Protocol: inNS{ns: node}, Holds: always})
	a.Announce(announce.Target{Index: link.Index, MAC: link.HardwareAddr, Addresses: []netip.Addr{vip}})
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

// Package ndp sends and reads Neighbour Discovery of IPv6 (RFC 4861): the unsolicited neighbour
// advertisements by which a host announces an address, the solicitations that ask who has one, and
// the claims of other machines. When something is sent is decided in package announce.
package ndp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/packet"
	"github.com/mdlayher/socket"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/pkg/announce"
)

// Protocol is Neighbour Discovery. Announcements are unsolicited neighbour advertisements; a question
// is a neighbour solicitation.
type Protocol struct{}

// Open opens a socket for packets whose headers the caller builds. They pass the kernel's output hook,
// where package fence refuses them with EPERM without a grant; frames of a packet socket would not.
func (Protocol) Open(index int) (announce.Conn, error) {
	if index <= 0 { // 0 would be any interface
		return nil, fmt.Errorf("open raw socket: no interface %d", index)
	}
	// With IPPROTO_RAW, the kernel adds no header, and passes nothing to the socket (net/ipv6/af_inet6.c,
	// inet6_create).
	c, err := socket.Socket(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_RAW, "ndp", nil)
	if err != nil {
		return nil, fmt.Errorf("open raw socket (needs CAP_NET_RAW): %w", err)
	}
	return &sender{conn: c, index: index}, nil
}

// sender sends packets to groups on one interface.
type sender struct {
	conn  *socket.Conn
	index int
}

func (s *sender) SetWriteDeadline(t time.Time) error { return s.conn.SetWriteDeadline(t) }
func (s *sender) Close() error                       { return s.conn.Close() }

// Send sends a packet to the multicast group in its header.
func (s *sender) Send(b []byte) error {
	to := &unix.SockaddrInet6{Addr: [16]byte(b[toOffset:headerSize]), ZoneId: uint32(s.index)}
	return s.conn.Sendto(context.Background(), b, 0, to) // the write deadline bounds it
}

// Announcements returns the unsolicited advertisement of addr.
func (Protocol) Announcements(addr netip.Addr, mac net.HardwareAddr) ([][]byte, error) {
	b, err := advertisement(addr, mac)
	return [][]byte{b}, err
}

// Question returns a solicitation for addr from the target's own address.
func (Protocol) Question(t announce.Target, addr netip.Addr) ([]byte, error) {
	if !t.Own.IsValid() {
		return nil, errors.New("the interface has no link-local address")
	}
	return solicitation(t.Own, addr, t.MAC)
}

// Listen opens a socket that reads the claims to the addresses.
func (Protocol) Listen(index int, addresses []netip.Addr) (announce.ReadConn, error) {
	if index <= 0 {
		return nil, fmt.Errorf("open packet socket: no interface %d", index)
	}
	filter, err := bpf.Assemble(claims(addresses))
	if err != nil {
		return nil, fmt.Errorf("assemble filter: %w", err)
	}
	// The frames that this host sends do not come back, see package arp.
	c, err := packet.Listen(&net.Interface{Index: index}, packet.Raw, int(ethernet.EtherTypeIPv6), &packet.Config{Filter: filter})
	if err != nil {
		return nil, fmt.Errorf("open packet socket on interface %d (needs CAP_NET_RAW): %w", index, err)
	}
	return c, nil
}

// Parse is the function Parse.
func (Protocol) Parse(frame []byte) (announce.Claim, bool) { return Parse(frame) }

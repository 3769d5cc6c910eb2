// Package arp sends and reads ARP: the gratuitous ARP by which a host announces an address, the
// probes that ask who has one, and the claims of other machines. When something is sent is decided
// in package announce.
package arp

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/packet"

	"github.com/vipd-io/vipd/pkg/announce"
)

// Protocol is ARP. Announcements are gratuitous ARP, questions are probes (RFC 5227).
type Protocol struct{}

// Open opens a socket for broadcasts.
func (Protocol) Open(index int) (announce.Conn, error) {
	c, err := open(index, 0, nil) // receives nothing, packet(7)
	if err != nil {
		return nil, err
	}
	return broadcaster{c}, nil
}

// broadcaster sends frames to all machines.
type broadcaster struct{ *packet.Conn }

func (b broadcaster) Send(frame []byte) error {
	_, err := b.WriteTo(frame, &packet.Addr{HardwareAddr: ethernet.Broadcast})
	return err
}

// Announcements returns the gratuitous ARP request and reply of addr.
func (Protocol) Announcements(addr netip.Addr, mac net.HardwareAddr) ([][]byte, error) {
	return gratuitous(addr, mac)
}

// Question returns a probe for addr.
func (Protocol) Question(t announce.Target, addr netip.Addr) ([]byte, error) {
	return probe(addr, t.MAC)
}

// Listen opens a socket that reads ARP frames whose sender has one of the addresses.
func (Protocol) Listen(index int, addresses []netip.Addr) (announce.ReadConn, error) {
	c, err := tap(index, addresses)
	if err != nil {
		return nil, err // not a nil pointer in an interface
	}
	return c, nil
}

// Parse is the function Parse.
func (Protocol) Parse(frame []byte) (announce.Claim, bool) { return Parse(frame) }

// open opens a socket for raw frames of one EtherType on an interface. It does not look the
// interface up: the kernel answers that under its configuration lock, which others may hold for
// seconds.
func open(index, etherType int, cfg *packet.Config) (*packet.Conn, error) {
	if index <= 0 { // 0 would be all interfaces
		return nil, fmt.Errorf("open packet socket: no interface %d", index)
	}
	c, err := packet.Listen(&net.Interface{Index: index}, packet.Raw, etherType, cfg)
	if err != nil {
		return nil, fmt.Errorf("open packet socket on interface %d (needs CAP_NET_RAW): %w", index, err)
	}
	return c, nil
}

package ndp

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/pkg/announce"
)

// The header of IPv6 (RFC 8200 section 3).
const (
	headerSize     = 40
	nextOffset     = 6
	hopLimitOffset = 7
	fromOffset     = 8
	toOffset       = 24
	// hopLimit of all messages: no router forwarded them (RFC 4861 section 7.1).
	hopLimit = 255
)

var allNodes = netip.MustParseAddr("ff02::1")

// advertisement builds the packet that announces addr at mac to all nodes. Override is set, so that
// neighbours replace what they know, and Solicited is not (RFC 4861 section 7.2.6).
//
// The packet is from addr itself, as the kernel's answers are (net/ipv6/ndisc.c, ndisc_send_na): the
// fence looks at the source.
func advertisement(addr netip.Addr, mac net.HardwareAddr) ([]byte, error) {
	return message(addr, allNodes, &ndp.NeighborAdvertisement{
		Override: true, TargetAddress: addr,
		Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: mac}},
	})
}

// solicitation builds the packet that asks for addr. It is from another address of the host, and so
// claims nothing.
func solicitation(from, addr netip.Addr, mac net.HardwareAddr) ([]byte, error) {
	to, err := ndp.SolicitedNodeMulticast(addr)
	if err != nil {
		return nil, fmt.Errorf("ask for %s: %w", addr, err)
	}
	return message(from, to, &ndp.NeighborSolicitation{
		TargetAddress: addr,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: mac}},
	})
}

func message(from, to netip.Addr, m ndp.Message) ([]byte, error) {
	if !from.Is6() || from.Is4In6() {
		return nil, fmt.Errorf("build Neighbour Discovery message: %s is not an IPv6 address", from)
	}
	body, err := ndp.MarshalMessageChecksum(m, from, to)
	if err != nil {
		return nil, fmt.Errorf("build Neighbour Discovery message from %s: %w", from, err)
	}
	b := make([]byte, headerSize, headerSize+len(body))
	b[0] = 6 << 4
	binary.BigEndian.PutUint16(b[4:], uint16(len(body))) //nolint:gosec // some 32 bytes
	b[nextOffset], b[hopLimitOffset] = unix.IPPROTO_ICMPV6, hopLimit
	copy(b[fromOffset:], from.AsSlice())
	copy(b[toOffset:], to.AsSlice())
	return append(b, body...), nil
}

// Parse returns the claim in an Ethernet frame: the target of an advertisement, the target of a
// solicitation without a source, by which a host checks that nobody has the address that it is about
// to use (RFC 4862 section 5.4), or the source of any other solicitation, from which neighbours
// learn. ok is false for all other frames.
func Parse(b []byte) (c announce.Claim, ok bool) {
	var f ethernet.Frame
	if err := f.UnmarshalBinary(b); err != nil || f.EtherType != ethernet.EtherTypeIPv6 {
		return c, false
	}
	p := f.Payload
	if len(p) < headerSize || p[0]>>4 != 6 || p[nextOffset] != unix.IPPROTO_ICMPV6 || p[hopLimitOffset] != hopLimit {
		return c, false
	}
	size := int(binary.BigEndian.Uint16(p[4:]))
	if len(p) < headerSize+size {
		return c, false
	}
	m, err := ndp.ParseMessage(p[headerSize : headerSize+size])
	if err != nil {
		return c, false
	}
	from, to := netip.AddrFrom16([16]byte(p[fromOffset:toOffset])), netip.AddrFrom16([16]byte(p[toOffset:headerSize]))
	switch m := m.(type) {
	case *ndp.NeighborAdvertisement:
		c = announce.Claim{Addr: m.TargetAddress, MAC: linkLayer(m.Options, ndp.Target, f.Source), Announces: !m.Solicited, Answers: m.Solicited}
		if m.Solicited {
			c.To = to
		}
	case *ndp.NeighborSolicitation:
		c = announce.Claim{Addr: from, MAC: linkLayer(m.Options, ndp.Source, f.Source)}
		if from.IsUnspecified() {
			c.Addr = m.TargetAddress
		}
	default:
		return c, false
	}
	return c, len(c.MAC) == 6 && !c.Addr.IsMulticast()
}

// linkLayer returns the MAC in the options, or that of the frame.
func linkLayer(options []ndp.Option, is ndp.Direction, frame net.HardwareAddr) net.HardwareAddr {
	for _, o := range options {
		if l, ok := o.(*ndp.LinkLayerAddress); ok && l.Direction == is {
			return l.Addr
		}
	}
	return frame
}

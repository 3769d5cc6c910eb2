package arp

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"

	"github.com/vipd-io/vipd/pkg/announce"
)

// gratuitous builds the two frames that announce addr at mac: a request and a reply, both with
// sender and target protocol address = addr.
//
// Hosts differ in which form they accept. RFC 5227 section 3 requires the request: every host that
// caches the address updates its entry. Linux treats a reply as gratuitous if the target hardware
// address is the sender's (net/ipv4/arp.c, arp_is_garp), and then updates its entry at once, not
// only a second after the last update.
func gratuitous(addr netip.Addr, mac net.HardwareAddr) ([][]byte, error) {
	request, err := frame(arp.OperationRequest, mac, addr, make(net.HardwareAddr, len(mac)), addr)
	if err != nil {
		return nil, err
	}
	reply, err := frame(arp.OperationReply, mac, addr, mac, addr)
	if err != nil {
		return nil, err
	}
	return [][]byte{request, reply}, nil
}

// probe builds the frame that asks for addr without a claim: the sender's protocol address is
// 0.0.0.0, which no neighbour caches (RFC 5227 section 2.1.1). Linux answers the frame if it has
// addr (net/ipv4/arp.c, arp_process, "duplicate address detection").
func probe(addr netip.Addr, mac net.HardwareAddr) ([]byte, error) {
	return frame(arp.OperationRequest, mac, netip.IPv4Unspecified(), make(net.HardwareAddr, len(mac)), addr)
}

// frame builds an ARP broadcast; the arguments are in the order of the packet's fields.
func frame(op arp.Operation, mac net.HardwareAddr, sender netip.Addr, target net.HardwareAddr, addr netip.Addr) ([]byte, error) {
	p, err := arp.NewPacket(op, mac, sender, target, addr)
	if err != nil {
		return nil, fmt.Errorf("build ARP packet for %s at %s: %w", addr, mac, err)
	}
	payload, err := p.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("encode ARP packet for %s: %w", addr, err)
	}
	f := ethernet.Frame{Destination: ethernet.Broadcast, Source: mac, EtherType: ethernet.EtherTypeARP, Payload: payload}
	b, err := f.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("encode Ethernet frame for %s: %w", addr, err)
	}
	return b, nil
}

// Parse returns the claim in an Ethernet frame. ok is false for a frame without a claim: another
// EtherType, other hardware than Ethernet, another protocol than IPv4, a probe (sender 0.0.0.0, RFC
// 5227 section 1.1), or a damaged frame.
func Parse(b []byte) (c announce.Claim, ok bool) {
	var f ethernet.Frame
	if err := f.UnmarshalBinary(b); err != nil || f.EtherType != ethernet.EtherTypeARP {
		return announce.Claim{}, false
	}
	var p arp.Packet
	if err := p.UnmarshalBinary(f.Payload); err != nil {
		return announce.Claim{}, false
	}
	if p.HardwareType != 1 || p.ProtocolType != uint16(ethernet.EtherTypeIPv4) || len(p.SenderHardwareAddr) != 6 ||
		!p.SenderIP.Is4() || p.SenderIP.IsUnspecified() {
		return announce.Claim{}, false
	}
	announces := p.TargetIP == p.SenderIP
	return announce.Claim{Addr: p.SenderIP, MAC: p.SenderHardwareAddr, Announces: announces, Answers: p.Operation == arp.OperationReply && !announces, To: p.TargetIP}, true
}

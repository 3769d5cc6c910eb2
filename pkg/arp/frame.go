package arp

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
)

// gratuitous builds the two frames that announce addr at mac: a request and a
// reply, both with sender and target protocol address = addr.
//
// Both, because hosts differ in what they take. RFC 5227 section 3 wants the
// request: whoever caches the address updates it. Linux takes a reply for
// gratuitous, and so at once and not only a second after the last update, if
// its target hardware address is the sender's (net/ipv4/arp.c, arp_is_garp).
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

// probe builds the frame that asks who has addr without a claim to it: the
// sender's protocol address is 0.0.0.0, which no neighbour takes into its cache
// (RFC 5227 section 2.1.1). Linux answers it if it has addr (net/ipv4/arp.c,
// arp_process, "duplicate address detection").
func probe(addr netip.Addr, mac net.HardwareAddr) ([]byte, error) {
	return frame(arp.OperationRequest, mac, netip.IPv4Unspecified(), make(net.HardwareAddr, len(mac)), addr)
}

// frame builds a broadcast of an ARP packet with its fields in the packet's order.
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

// Claim is what an ARP frame says of its sender.
type Claim struct {
	Addr netip.Addr
	MAC  net.HardwareAddr
	// Announces: it is gratuitous, for all to hear, and neither question nor answer.
	Announces bool
}

// Parse reads the claim in an Ethernet frame. ok is false for frames that claim
// nothing: other EtherTypes, other hardware than Ethernet, other protocols than
// IPv4, a probe (sender 0.0.0.0, RFC 5227 section 1.1), anything damaged.
func Parse(b []byte) (c Claim, ok bool) {
	var f ethernet.Frame
	if err := f.UnmarshalBinary(b); err != nil || f.EtherType != ethernet.EtherTypeARP {
		return Claim{}, false
	}
	var p arp.Packet
	if err := p.UnmarshalBinary(f.Payload); err != nil {
		return Claim{}, false
	}
	if p.HardwareType != 1 || p.ProtocolType != uint16(ethernet.EtherTypeIPv4) || len(p.SenderHardwareAddr) != 6 ||
		!p.SenderIP.Is4() || p.SenderIP.IsUnspecified() {
		return Claim{}, false
	}
	return Claim{Addr: p.SenderIP, MAC: p.SenderHardwareAddr, Announces: p.TargetIP == p.SenderIP}, true
}

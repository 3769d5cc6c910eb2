package firewall

import (
	"slices"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Clients find the address by ARP before they send anything else. Tables of the family arp filter the
// questions that arrive and the answers that leave; tables of the family netdev filter all frames of
// an interface, in both directions.

// Hooks of these families (include/uapi/linux/netfilter_arp.h, include/uapi/linux/netfilter.h).
const (
	arpIn, arpOut         = 0, 1
	netdevIn, netdevOut   = 0, 1
	arpRequest, arpAnswer = 1, 2
)

// Offsets in an ARP packet for IPv4 over Ethernet (RFC 826), and the length of the packet.
const (
	arpOperation, arpSender, arpTarget = 7, 14, 24
	arpLength                          = 28
)

// etherType is the offset of the protocol in an Ethernet header, of etherLength bytes.
const etherType, etherLength = 12, 14

// arpPacket returns an ARP packet that contains the address at an offset.
func arpPacket(c Connection, operation byte, at int) packet {
	p := anyPacket()
	p.nfproto, p.protocol, p.tcp = unix.NFPROTO_ARP, [2]byte{0x08, 0x06}, false
	p.network, p.transport = unknown(arpLength), unknown(0)
	p.network.know(0, 0, 1, 0x08, 0x00, 6, 4, 0, operation)
	address := c.To.As4()
	p.network.know(at, address[:]...)
	p.link.know(etherType, p.protocol[:]...)
	return p
}

// question is a client's ARP request for the address.
func question(c Connection) packet {
	p := arpPacket(c, arpRequest, arpTarget)
	p.iif, p.iifname = number(uint32(c.Index)), name(c.Interface)
	return p
}

// answer is this machine's answer to that request.
func answer(c Connection) packet {
	p := arpPacket(c, arpAnswer, arpSender)
	p.oif, p.oifname = number(uint32(c.Index)), name(c.Interface)
	return p
}

// ofARP tells whether an ARP packet passes a base chain in its direction.
func ofARP(c *nftables.Chain, in bool) bool {
	hook := nftables.ChainHook(arpOut)
	if in {
		hook = arpIn
	}
	return c.Table.Family == nftables.TableFamilyARP && *c.Hooknum == hook
}

// ofDevice tells whether frames of the interface pass a base chain in their direction.
func (j *evaluator) ofDevice(c *nftables.Chain, in bool) bool {
	hook := nftables.ChainHook(netdevOut)
	if in {
		hook = netdevIn
	}
	return c.Table.Family == nftables.TableFamilyNetdev && *c.Hooknum == hook && slices.Contains(j.ruleset.devices[keyOf(c)], j.device)
}

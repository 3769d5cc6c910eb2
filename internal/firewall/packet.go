package firewall

import (
	"bytes"
	"encoding/binary"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// bits is a value with bits that may be unknown.
type bits struct{ value, known []byte }

func certain(b []byte) bits   { return bits{b, bytes.Repeat([]byte{0xff}, len(b))} }
func unknown(n uint32) bits   { return bits{make([]byte, n), make([]byte, n)} }
func number(n uint32) bits    { return certain(binary.NativeEndian.AppendUint32(nil, n)) }
func (b bits) allKnown() bool { return bytes.Count(b.known, []byte{0xff}) == len(b.known) }

// truth is a value of three-valued logic.
type truth uint8

const (
	no truth = iota
	maybe
	yes
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

func (t truth) not() truth { return yes - t }

func (t truth) invertedIf(b bool) truth {
	if b {
		return t.not()
	}
	return t
}

// equals compares the first len(data) bytes.
func (b bits) equals(data []byte) truth {
	out := yes
	for i := range data {
		switch {
		case (b.value[i]^data[i])&b.known[i] != 0:
			return no
		case b.known[i] != 0xff:
			out = maybe
		}
	}
	return out
}

// bounds returns the least and the greatest possible value, in the order of memcmp(3).
func (b bits) bounds() (least, greatest []byte) {
	for i := range b.value {
		least = append(least, b.value[i]&b.known[i])
		greatest = append(greatest, b.value[i]|^b.known[i])
	}
	return least, greatest
}

// within tells whether the value is in a range, in the order of memcmp(3).
func (b bits) within(from, to []byte) truth {
	if bytes.Equal(from, to) {
		return b.equals(from)
	}
	least, greatest := b.bounds()
	switch {
	case bytes.Compare(greatest, from) < 0 || bytes.Compare(least, to) > 0:
		return no
	case bytes.Compare(least, from) >= 0 && bytes.Compare(greatest, to) <= 0:
		return yes
	}
	return maybe
}

// less tells whether the value comes before another, in the order of memcmp(3).
func (b bits) less(than []byte) truth {
	least, greatest := b.bounds()
	switch {
	case bytes.Compare(greatest, than) < 0:
		return yes
	case bytes.Compare(least, than) >= 0:
		return no
	}
	return maybe
}

// packet is a packet of an incoming connection as rules see it: the first one, a SYN, or the reply.
type packet struct {
	// link is the Ethernet header, of which chains of the families ip and inet see nothing on the way out.
	link, network, transport bits
	// nfproto is the family as meta sees it outside of netdev, protocol the one in the Ethernet header.
	nfproto  byte
	protocol [2]byte
	tcp      bool
	// iif and oif are the indices, iifname and oifname the names of the interfaces.
	iif, oif, iifname, oifname bits
	// state and status are conntrack's.
	state, status bits
	// toLocal and fromLocal tell that the destination, or the source, is an address of this machine,
	// which no rule may have changed.
	toLocal, fromLocal bool
}

const (
	// stateNew and stateEstablished are NF_CT_STATE_BIT(IP_CT_NEW) and of IP_CT_ESTABLISHED_REPLY,
	// include/uapi/linux/netfilter/nf_conntrack_common.h.
	stateNew, stateEstablished = 8, 2
	// statusUnset are IPS_EXPECTED and IPS_DST_NAT, which are unset for a new connection unless a
	// rule sets them; IPS_SEEN_REPLY is unset before the reply.
	statusUnset, statusSeenReply = 1 | 1<<5, 2
	routeLocal                   = 2 // RTN_LOCAL
)

// The offsets of the addresses in the IP header (RFC 791), and of the ports in the TCP header (RFC
// 9293).
const (
	sourceAddress, destinationAddress = 12, 16
	sourcePort, destinationPort       = 0, 2
)

func anyPacket() packet {
	return packet{nfproto: unix.NFPROTO_IPV4, protocol: [2]byte{0x08, 0x00}, tcp: true, link: unknown(etherLength), network: unknown(20), transport: unknown(20), iif: unknown(4), oif: unknown(4), iifname: unknown(unix.IFNAMSIZ), oifname: unknown(unix.IFNAMSIZ)}
}

// greater tells whether the value comes after another.
func (b bits) greater(than []byte) truth {
	least, greatest := b.bounds()
	switch {
	case bytes.Compare(least, than) > 0:
		return yes
	case bytes.Compare(greatest, than) <= 0:
		return no
	}
	return maybe
}

// segment returns a TCP segment of which one end is known: its address and port are at these
// offsets. The client's port is an ephemeral one: Linux uses 32768 and above
// (ip_local_port_range), others 49152 and above (RFC 6335).
func segment(c Connection, address, port, client int, flags byte) packet {
	p := anyPacket()
	p.network.know(0, 0x45) // version and length: a SYN has no IP options
	p.network.know(9, unix.IPPROTO_TCP)
	end := c.To.As4()
	p.network.know(address, end[:]...)
	p.transport.know(port, byte(c.Port>>8), byte(c.Port))
	p.transport.value[client], p.transport.known[client] = 0x80, 0x80
	p.transport.value[13], p.transport.known[13] = flags, 0x3f
	return p
}

func firstPacket(c Connection) packet {
	const syn = 0x02
	p := segment(c, destinationAddress, destinationPort, sourcePort, syn)
	p.iif, p.iifname = number(uint32(c.Index)), name(c.Interface)
	p.state, p.toLocal = number(stateNew), true
	p.status = bits{make([]byte, 4), binary.NativeEndian.AppendUint32(nil, statusUnset|statusSeenReply)}
	return p
}

// replyPacket is the answer to the first packet. It leaves by the interface on which the first
// packet arrived, as it does to every client in a subnet of that interface.
func replyPacket(c Connection) packet {
	const synAck = 0x12
	p := segment(c, sourceAddress, sourcePort, destinationPort, synAck)
	p.oif, p.oifname = number(uint32(c.Index)), name(c.Interface)
	p.state, p.fromLocal = number(stateEstablished), true
	p.status = bits{make([]byte, 4), binary.NativeEndian.AppendUint32(nil, statusUnset)}
	return p
}

// outgoingPacket is the first packet of a connection from this machine to the address and port.
func outgoingPacket(c Connection) packet {
	p := firstPacket(c)
	p.iif, p.iifname, p.toLocal = unknown(4), unknown(unix.IFNAMSIZ), false
	p.oif, p.oifname = number(uint32(c.Index)), name(c.Interface)
	return p
}

// know sets bytes that are known.
func (b bits) know(at int, value ...byte) {
	copy(b.value[at:], value)
	for i := range value {
		b.known[at+i] = 0xff
	}
}

// name is the name of an interface in a register.
func name(of string) bits {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, of)
	return certain(b)
}

// changes are what rules may have changed of a packet, which all rules have to consider.
type changes struct {
	// rewritten: the destination, or any other part of the headers.
	rewritten bool
	// untracked: conntrack does not know the packet.
	untracked bool
	// rerouted: the packet leaves by another interface.
	rerouted bool
}

// after returns what is known of the packet after changes.
func (p packet) after(c changes) packet {
	if c.rewritten {
		p.network, p.transport, p.toLocal, p.fromLocal = unknown(uint32(len(p.network.value))), unknown(uint32(len(p.transport.value))), false, false
		if p.tcp {
			p.network.know(9, unix.IPPROTO_TCP)
		}
	}
	if c.untracked || c.rewritten {
		p.state, p.status = unknown(4), unknown(4)
	}
	if c.rerouted {
		p.oif, p.oifname = unknown(4), unknown(unix.IFNAMSIZ)
	}
	return p
}

func (p packet) load(e *expr.Payload) bits {
	header := bits{}
	switch e.Base {
	case expr.PayloadBaseNetworkHeader:
		header = p.network
	case expr.PayloadBaseTransportHeader:
		header = p.transport
	case expr.PayloadBaseLLHeader:
		header = p.link
	}
	if end := uint64(e.Offset) + uint64(e.Len); end <= uint64(len(header.value)) {
		return bits{header.value[e.Offset:end], header.known[e.Offset:end]}
	}
	return unknown(e.Len)
}

func (p packet) meta(key expr.MetaKey) bits {
	switch key {
	case expr.MetaKeyIIF:
		return p.iif
	case expr.MetaKeyOIF:
		return p.oif
	case expr.MetaKeyIIFNAME:
		return p.iifname
	case expr.MetaKeyOIFNAME:
		return p.oifname
	case expr.MetaKeyIIFTYPE:
		return ethernet(p.iif)
	case expr.MetaKeyOIFTYPE:
		return ethernet(p.oif)
	case expr.MetaKeyNFPROTO:
		return certain([]byte{p.nfproto})
	case expr.MetaKeyL4PROTO:
		if !p.tcp {
			return unknown(16)
		}
		return certain([]byte{unix.IPPROTO_TCP})
	case expr.MetaKeyPROTOCOL:
		return certain(p.protocol[:])
	default:
		return unknown(16)
	}
}

// ethernet returns the type of an interface that is known: vipd uses Ethernet only.
func ethernet(index bits) bits {
	if !index.allKnown() {
		return unknown(2)
	}
	return certain(binary.NativeEndian.AppendUint16(nil, unix.ARPHRD_ETHER))
}

func (p packet) conntrack(key expr.CtKey) bits {
	switch key {
	case expr.CtKeySTATE:
		return p.state
	case expr.CtKeySTATUS:
		return p.status
	default:
		return unknown(16)
	}
}

func (p packet) fib(e *expr.Fib) bits {
	to := e.FlagDADDR && !e.FlagSADDR && p.toLocal
	from := e.FlagSADDR && !e.FlagDADDR && p.fromLocal
	if e.ResultADDRTYPE && !e.FlagOIF && !e.FlagIIF && (to || from) {
		return number(routeLocal)
	}
	return unknown(16)
}

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

// within tells whether the value is in a range, in the order of memcmp(3).
func (b bits) within(from, to []byte) truth {
	if bytes.Equal(from, to) {
		return b.equals(from)
	}
	if !b.allKnown() {
		return maybe
	}
	return truthOf(bytes.Compare(b.value, from) >= 0 && bytes.Compare(b.value, to) <= 0)
}

// packet is the first packet of an incoming connection, a SYN, as rules see it.
type packet struct {
	network, transport bits
	iif                uint32
	iifname            string
	// state and status are conntrack's.
	state, status bits
	// local tells that no rule may have changed the destination.
	local bool
}

const (
	// stateNew is NF_CT_STATE_BIT(IP_CT_NEW), include/uapi/linux/netfilter/nf_conntrack_common.h.
	stateNew = 8
	// statusKnown are IPS_EXPECTED, IPS_SEEN_REPLY and IPS_DST_NAT, which are unset for a new
	// connection unless a rule sets them.
	statusKnown = 1 | 2 | 1<<5
	routeLocal  = 2 // RTN_LOCAL
)

func firstPacket(c Connection) packet {
	p := packet{network: unknown(20), transport: unknown(20), iif: uint32(c.Index), iifname: c.Interface, state: number(stateNew), local: true}
	know := func(b bits, at int, value ...byte) {
		copy(b.value[at:], value)
		for i := range value {
			b.known[at+i] = 0xff
		}
	}
	know(p.network, 0, 0x45)             // version and length: a SYN has no IP options
	know(p.network, 9, unix.IPPROTO_TCP) // RFC 791
	to := c.To.As4()
	know(p.network, 16, to[:]...)
	know(p.transport, 2, byte(c.Port>>8), byte(c.Port)) // RFC 9293
	p.transport.value[13], p.transport.known[13] = 0x02, 0x3f
	p.status = bits{make([]byte, 4), binary.NativeEndian.AppendUint32(nil, statusKnown)}
	return p
}

// changed returns what is known of the packet after a rule may have changed its destination, or may
// have excluded it from conntrack.
func (p packet) changed(rewritten, untracked bool) packet {
	if rewritten {
		p.network, p.transport, p.status, p.local = unknown(20), unknown(20), unknown(4), false
		p.network.value[9], p.network.known[9] = unix.IPPROTO_TCP, 0xff
	}
	if untracked || rewritten {
		p.state, p.status = unknown(4), unknown(4)
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
	}
	if end := uint64(e.Offset) + uint64(e.Len); end <= uint64(len(header.value)) {
		return bits{header.value[e.Offset:end], header.known[e.Offset:end]}
	}
	return unknown(e.Len)
}

func (p packet) meta(key expr.MetaKey) bits {
	switch key {
	case expr.MetaKeyIIF:
		return number(p.iif)
	case expr.MetaKeyIIFNAME:
		name := make([]byte, unix.IFNAMSIZ)
		copy(name, p.iifname)
		return certain(name)
	case expr.MetaKeyNFPROTO:
		return certain([]byte{unix.NFPROTO_IPV4})
	case expr.MetaKeyL4PROTO:
		return certain([]byte{unix.IPPROTO_TCP})
	case expr.MetaKeyPROTOCOL:
		return certain([]byte{0x08, 0x00})
	case expr.MetaKeyOIFNAME:
		return unknown(unix.IFNAMSIZ)
	default:
		return unknown(16)
	}
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
	if e.ResultADDRTYPE && e.FlagDADDR && !e.FlagSADDR && !e.FlagOIF && p.local {
		return number(routeLocal)
	}
	return unknown(16)
}

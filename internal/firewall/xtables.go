package firewall

import (
	"encoding/binary"
	"slices"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
)

// iptables-nft uses the matches and targets of iptables for what nftables expressions do not cover.

// match evaluates a match of iptables.
func (m *evaluation) match(e *expr.Match) truth {
	switch info := e.Info.(type) {
	case *xt.Comment:
		return yes
	case *xt.Tcp:
		return m.tcp(info)
	case *xt.Udp:
		return no
	case *xt.ConntrackMtinfo3:
		return m.conntrack(info)
	case *xt.AddrTypeV1:
		return m.addressType(info)
	case *xt.Unknown:
		if e.Name == "multiport" && e.Rev == 1 {
			return m.multiport(*info)
		}
	}
	return maybe
}

// XT_ADDRTYPE_INVERT_SOURCE and XT_ADDRTYPE_INVERT_DEST (linux/netfilter/xt_addrtype.h); other flags
// limit the match to an interface.
const addrTypeInvertSource, addrTypeInvertDest = 1, 2

func (m *evaluation) addressType(info *xt.AddrTypeV1) truth {
	if info.Flags&^(addrTypeInvertSource|addrTypeInvertDest) != 0 {
		return maybe
	}
	is := func(types uint16, local, inverted bool) truth {
		switch {
		case types == 0:
			return yes
		case !local:
			return maybe
		}
		return truthOf(xt.AddrTypeFlags(types)&xt.AddrTypeLocal != 0).invertedIf(inverted)
	}
	return min(is(info.Source, m.packet.fromLocal, info.Flags&addrTypeInvertSource != 0), is(info.Dest, m.packet.toLocal, info.Flags&addrTypeInvertDest != 0))
}

func (m *evaluation) tcp(t *xt.Tcp) truth {
	if t.Option != 0 {
		return maybe
	}
	ports := min(m.packet.port(sourcePort).inRange(t.SrcPorts).invertedIf(t.InvFlags&xt.TcpInvSrcPorts != 0),
		m.packet.port(destinationPort).inRange(t.DstPorts).invertedIf(t.InvFlags&xt.TcpInvDestPorts != 0))
	flags := m.packet.load(&expr.Payload{Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1}).
		masked(&expr.Bitwise{Len: 1, Mask: []byte{t.FlagsMask}, Xor: []byte{0}}).equals([]byte{t.FlagsCmp}).invertedIf(t.InvFlags&xt.TcpInvFlags != 0)
	return min(ports, flags)
}

// port returns the port at an offset of the TCP header.
func (p packet) port(at uint32) bits {
	return p.load(&expr.Payload{Base: expr.PayloadBaseTransportHeader, Offset: at, Len: 2})
}

func (b bits) inRange(ports [2]uint16) truth {
	if ports == [2]uint16{0, 65535} { // no option
		return yes
	}
	return b.within(port(ports[0]), port(ports[1]))
}

func port(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

// conntrack evaluates -m conntrack --ctstate; other options of that match are unknown.
func (m *evaluation) conntrack(c *xt.ConntrackMtinfo3) truth {
	if m.early || !m.packet.state.allKnown() || c.MatchFlags&^uint16(xt.ConntrackStateAlias) != uint16(xt.ConntrackState) {
		return maybe
	}
	state := binary.NativeEndian.Uint32(m.packet.state.value)
	return truthOf(uint32(c.StateMask)&state != 0).invertedIf(c.InvertFlags&uint16(xt.ConntrackState) != 0)
}

// multiport evaluates struct xt_multiport_v1 (linux/netfilter/xt_multiport.h).
func (m *evaluation) multiport(b []byte) truth {
	const ports, source, destination, either = 15, 0, 1, 2
	if len(b) < 2+ports*3+1 || b[0] > either || b[1] > ports {
		return maybe
	}
	var has []bits
	if b[0] != destination {
		has = append(has, m.packet.port(sourcePort))
	}
	if b[0] != source {
		has = append(has, m.packet.port(destinationPort))
	}
	out := no
	for i := 0; i < int(b[1]); i++ {
		at := func(i int) []byte { return port(binary.NativeEndian.Uint16(b[2+2*i:])) }
		from, to := at(i), at(i)
		if b[2+2*ports+i] != 0 && i+1 < ports { // a range: the next port is its end
			i++
			to = at(i)
		}
		for _, one := range has {
			out = max(out, one.within(from, to))
		}
	}
	return out.invertedIf(b[2+3*ports] != 0)
}

// noTargets are the targets after which the next rule is evaluated, and which do not change the
// destination.
var noTargets = []string{"LOG", "NFLOG", "MARK", "CONNMARK", "TRACE", "AUDIT", "CLASSIFY", "TCPMSS", "DSCP", "TOS", "SECMARK", "CONNSECMARK", "TTL", "CHECKSUM"}

// target evaluates a target of iptables. The result is 0 if the next rule is evaluated.
func (m *evaluation) target(e *expr.Target) ends {
	switch {
	case e.Name == "REJECT":
		return m.blocked(true)
	case e.Name == "DROP":
		return m.blocked(false)
	case slices.Contains(noTargets, e.Name):
		m.rerouted = m.rerouted || m.routes
		return 0
	case e.Name == "CT", e.Name == "NOTRACK":
		m.untracked = true
		return 0
	case e.Name == "DNAT", e.Name == "REDIRECT":
		m.rewritten = true
		return passes
	case e.Name == "SNAT", e.Name == "MASQUERADE":
		return passes
	}
	m.rewritten = true
	return passes | blocks | continues
}

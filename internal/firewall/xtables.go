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
		if info.Source != 0 || info.Flags&^(addrTypeInvertDest) != 0 || !m.packet.local {
			return maybe
		}
		return truthOf(xt.AddrTypeFlags(info.Dest)&xt.AddrTypeLocal != 0).invertedIf(info.Flags&addrTypeInvertDest != 0)
	case *xt.Unknown:
		if e.Name == "multiport" && e.Rev == 1 {
			return m.multiport(*info)
		}
	}
	return maybe
}

// addrTypeInvertDest is XT_ADDRTYPE_INVERT_DEST (linux/netfilter/xt_addrtype.h).
const addrTypeInvertDest = 2

func (m *evaluation) tcp(t *xt.Tcp) truth {
	if t.Option != 0 || t.SrcPorts != [2]uint16{0, 65535} {
		return maybe
	}
	ports := m.packet.port().within(port(t.DstPorts[0]), port(t.DstPorts[1])).invertedIf(t.InvFlags&xt.TcpInvDestPorts != 0)
	flags := m.packet.load(&expr.Payload{Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1}).
		masked(&expr.Bitwise{Len: 1, Mask: []byte{t.FlagsMask}, Xor: []byte{0}}).equals([]byte{t.FlagsCmp}).invertedIf(t.InvFlags&xt.TcpInvFlags != 0)
	return min(ports, flags)
}

func (p packet) port() bits {
	return p.load(&expr.Payload{Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2})
}

func port(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

// conntrack evaluates -m conntrack --ctstate; other options of that match are unknown.
func (m *evaluation) conntrack(c *xt.ConntrackMtinfo3) truth {
	if m.early || !m.packet.state.allKnown() || c.MatchFlags&^uint16(xt.ConntrackStateAlias) != uint16(xt.ConntrackState) {
		return maybe
	}
	return truthOf(c.StateMask&stateNew != 0).invertedIf(c.InvertFlags&uint16(xt.ConntrackState) != 0)
}

// multiport evaluates struct xt_multiport_v1 (linux/netfilter/xt_multiport.h).
func (m *evaluation) multiport(b []byte) truth {
	const ports, toDestination = 15, 1
	if len(b) < 2+ports*3+1 || b[0] != toDestination || b[1] > ports {
		return maybe
	}
	out := no
	for i := 0; i < int(b[1]); i++ {
		at := func(i int) []byte { return port(binary.NativeEndian.Uint16(b[2+2*i:])) }
		from, to := at(i), at(i)
		if b[2+2*ports+i] != 0 && i+1 < ports { // a range: the next port is its end
			i++
			to = at(i)
		}
		out = max(out, m.packet.port().within(from, to))
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

package fence

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// family is the kind of addresses that one table guards, and where it looks at packets.
type family struct {
	name   string // the name in nft
	nft    nftables.TableFamily
	v6     bool
	key    nftables.SetDatatype
	guards []guard
}

// guard is where a table looks at packets, and the position of the address in them.
type guard struct {
	chain string
	hook  *nftables.ChainHook
	// only, if not empty, lists the types of ICMPv6 messages that are looked at; others pass.
	only []byte
	// offset is the position of the address in the network header, in bytes.
	offset uint32
}

// arpOut is NF_ARP_OUT (include/uapi/linux/netfilter_arp.h). The kernel's own replies pass this
// hook (net/ipv4/arp.c, arp_xmit).
const arpOut = 1

// Types of ICMPv6 messages (RFC 4861).
const (
	neighbourSolicitation  = 135
	neighbourAdvertisement = 136
)

func families() []family {
	return []family{
		{name: "arp", nft: nftables.TableFamilyARP, key: nftables.TypeIPAddr, guards: []guard{
			// ar$spa, after an 8 byte header and a 6 byte hardware address (RFC 826).
			{chain: "answers", hook: nftables.ChainHookRef(arpOut), offset: 14},
		}},
		{name: "ip", nft: nftables.TableFamilyIPv4, key: nftables.TypeIPAddr, guards: []guard{
			// The destination address (RFC 791).
			{chain: "receives", hook: nftables.ChainHookInput, offset: 16},
		}},
		{name: "ip6", nft: nftables.TableFamilyIPv6, v6: true, key: nftables.TypeIP6Addr, guards: []guard{
			// The destination address (RFC 8200).
			{chain: "receives", hook: nftables.ChainHookInput, offset: 24},
			// The source address. The kernel answers from the requested address (net/ipv6/ndisc.c,
			// ndisc_send_na), and neighbours learn from solicitations, too. The target address of
			// an advertisement would do as well, but nft 1.0.6 cannot read back a rule that looks
			// up the target.
			{chain: "answers", hook: nftables.ChainHookOutput, only: []byte{neighbourSolicitation, neighbourAdvertisement}, offset: 8},
		}},
	}
}

// of returns the addresses of a group that belong to the family.
func (f family) of(group []netip.Addr) (out []netip.Addr) {
	for _, a := range group {
		if a.Is6() == f.v6 {
			out = append(out, a)
		}
	}
	return out
}

// jumps returns rules that send the packets in question to a chain.
func (g guard) jumps(chain string) (all [][]expr.Any) {
	jump := &expr.Verdict{Kind: expr.VerdictJump, Chain: chain}
	if len(g.only) == 0 {
		return [][]expr.Any{{jump}}
	}
	for _, only := range g.only {
		all = append(all, []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: unix.NFT_REG_1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: []byte{unix.IPPROTO_ICMPV6}},
			&expr.Payload{DestRegister: unix.NFT_REG_1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: []byte{only}},
			jump,
		})
	}
	return all
}

// rule returns a rule for packets whose address is in all of the sets.
func (g guard) rule(verdict expr.VerdictKind, sets ...*nftables.Set) (exprs []expr.Any) {
	for _, s := range sets {
		exprs = append(exprs,
			&expr.Payload{DestRegister: unix.NFT_REG_1, Base: expr.PayloadBaseNetworkHeader, Offset: g.offset, Len: s.KeyType.Bytes},
			&expr.Lookup{SourceRegister: unix.NFT_REG_1, SetName: s.Name})
	}
	return append(exprs, &expr.Verdict{Kind: verdict})
}

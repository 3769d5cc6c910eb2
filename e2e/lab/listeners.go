package lab

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
)

// Operations of ARP, RFC 826.
const (
	arpRequest = 1
	arpReply   = 2
)

// arpIn is NF_ARP_IN (include/uapi/linux/netfilter_arp.h): the numbers of ARP hooks differ from
// those of IP.
const arpIn = 0

// Listeners returns the clients that only listen to announcements: c4 accepts everything that the
// VIP's holder sends, c5 only announcements in the form of a reply, c6 only those in the form of a
// request. Devices of both kinds exist.
func (l *Lab) Listeners() []*Host { return l.Clients[3:] }

// acceptOnly makes a host ignore ARP of the VIP's holder, except announcements in one form and
// answers to the host. Otherwise the host would learn from the holder's requests for other hosts,
// of which observers cause many.
func (h *Host) acceptOnly(operation uint16, of netip.Addr) error {
	nft, err := nftables.New(nftables.WithNetNSFd(int(h.NS.handle)))
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	table := nft.AddTable(&nftables.Table{Name: "deaf", Family: nftables.TableFamilyARP})
	chain := nft.AddChain(&nftables.Chain{
		Name: "input", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookRef(arpIn), Priority: nftables.ChainPriorityFilter,
	})
	vip, own := of.As4(), h.IP.As4()
	// Offsets in ARP for Ethernet and IPv4.
	sender, toVIP, toSelf := arpField(14, vip[:]), arpField(24, vip[:]), arpField(24, own[:])
	form := arpField(6, binaryutil.BigEndian.PutUint16(operation))
	add := func(verdict expr.VerdictKind, matches ...[]expr.Any) {
		exprs := append(slices.Concat(matches...), &expr.Verdict{Kind: verdict})
		nft.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: exprs})
	}
	add(expr.VerdictAccept, sender, toSelf)
	add(expr.VerdictAccept, sender, toVIP, form)
	add(expr.VerdictDrop, sender)
	if err := nft.Flush(); err != nil {
		return fmt.Errorf("deafen %s: %w", h.Name, err)
	}
	return nil
}

func arpField(offset uint32, value []byte) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(len(value))},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: value},
	}
}

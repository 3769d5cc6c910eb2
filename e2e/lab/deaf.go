package lab

import (
	"fmt"
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

// arpIn is NF_ARP_IN (include/uapi/linux/netfilter_arp.h): the hooks of ARP have
// other numbers than those of IP.
const arpIn = 0

// Listeners are the clients that only listen to announcements: c4 heeds all that the
// VIP's holder sends, c5 announcements in the form of a reply alone, c6 those in the
// form of a request. There are devices of both kinds.
func (l *Lab) Listeners() []*Host { return l.Clients[3:] }

// heedOnly makes a host deaf to what the VIP's holder sends by ARP, but for
// announcements in one form and answers to the host itself. Else it would learn from
// the holder's questions for other hosts, as many as observers connect.
func (h *Host) heedOnly(operation uint16) error {
	nft, err := nftables.New(nftables.WithNetNSFd(int(h.NS.handle)))
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	table := nft.AddTable(&nftables.Table{Name: "deaf", Family: nftables.TableFamilyARP})
	chain := nft.AddChain(&nftables.Chain{
		Name: "input", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookRef(arpIn), Priority: nftables.ChainPriorityFilter,
	})
	vip, own := VIP.As4(), h.IP.As4()
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

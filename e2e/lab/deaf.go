package lab

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
)

// Operations of ARP, RFC 826.
const (
	arpRequest = 1
	arpReply   = 2
)

// Listeners are the clients that only listen to announcements: c4 heeds both
// forms, c5 is deaf to those in the form of a request, c6 to those in the form of
// a reply. There are devices of both kinds.
func (l *Lab) Listeners() []*Host { return l.Clients[3:] }

// deafen makes a host ignore announcements of the VIP in one form.
func (h *Host) deafen(operation uint16) error {
	nft, err := nftables.New(nftables.WithNetNSFd(int(h.NS.handle)))
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	table := nft.AddTable(&nftables.Table{Name: "deaf", Family: nftables.TableFamilyARP})
	chain := nft.AddChain(&nftables.Chain{
		Name: "input", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter,
	})
	vip := VIP.As4()
	// Offsets in ARP for Ethernet and IPv4.
	match := arpField(6, binaryutil.BigEndian.PutUint16(operation))
	match = append(match, arpField(14, vip[:])...) // sender
	match = append(match, arpField(24, vip[:])...) // target
	nft.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(match, &expr.Verdict{Kind: expr.VerdictDrop})})
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

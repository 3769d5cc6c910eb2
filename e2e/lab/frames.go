package lab

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Frames counts the frames that entered the switch, each once, however many ports it left by. What
// a node sends to itself is not counted.
type Frames struct {
	API    uint64 // TCP from or to an API server
	VIPs   uint64 // ARP whose sender address is a VIP: announcements and answers
	OfNode uint64 // other ARP: neighbours that look for each other
}

// countTable is the nftables table with the counters of the switch.
const countTable = "count"

// CountFrames starts counting; the VIPs are those from the lab's own to last.
func (l *Lab) CountFrames(last netip.Addr) error {
	nft, err := nftables.New(nftables.WithNetNSFd(int(l.sw.ns.handle)))
	if err != nil {
		return fmt.Errorf("open nftables in %s: %w", l.sw.ns.Name, err)
	}
	table := nft.AddTable(&nftables.Table{Name: countTable, Family: nftables.TableFamilyBridge})
	chain := nft.AddChain(&nftables.Chain{
		Name: "prerouting", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityFilter,
	})
	from, to := l.VIP.As4(), last.As4()
	ofVIP := append(protocol(unix.ETH_P_ARP),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 14, Len: 4}, // sender
		&expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: from[:], ToData: to[:]})
	for _, match := range [][]expr.Any{tcpPort(0), tcpPort(2), ofVIP, protocol(unix.ETH_P_ARP)} {
		nft.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(match, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictAccept})})
	}
	if err := nft.Flush(); err != nil {
		return fmt.Errorf("count frames in %s: %w", l.sw.ns.Name, err)
	}
	return nil
}

// protocol matches an EtherType.
func protocol(number uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(number)},
	}
}

// tcpPort matches the port of the API servers at an offset of the TCP header.
func tcpPort(offset uint32) []expr.Any {
	return append(protocol(unix.ETH_P_IP),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(Port)})
}

// Frames reads the counters.
func (l *Lab) Frames() (Frames, error) {
	nft, err := nftables.New(nftables.WithNetNSFd(int(l.sw.ns.handle)))
	if err != nil {
		return Frames{}, fmt.Errorf("open nftables in %s: %w", l.sw.ns.Name, err)
	}
	table := &nftables.Table{Name: countTable, Family: nftables.TableFamilyBridge}
	rules, err := nft.GetRules(table, &nftables.Chain{Name: "prerouting", Table: table})
	if err != nil {
		return Frames{}, fmt.Errorf("read counters in %s: %w", l.sw.ns.Name, err)
	}
	var counts []uint64
	for _, r := range rules {
		for _, e := range r.Exprs {
			if c, ok := e.(*expr.Counter); ok {
				counts = append(counts, c.Packets)
			}
		}
	}
	if len(counts) != 4 {
		return Frames{}, fmt.Errorf("read counters in %s: %d of 4", l.sw.ns.Name, len(counts))
	}
	return Frames{API: counts[0] + counts[1], VIPs: counts[2], OfNode: counts[3]}, nil
}

package arp

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
)

// tap opens a socket that reads the claims to addresses. What this host sends
// does not come back to it: the kernel shows outgoing frames to sockets for all
// protocols only (net/core/dev.c, dev_queue_xmit_nit).
func tap(index int, addresses []netip.Addr) (*packet.Conn, error) {
	filter, err := bpf.Assemble(claims(addresses))
	if err != nil {
		return nil, fmt.Errorf("assemble filter: %w", err)
	}
	return open(index, int(ethernet.EtherTypeARP), &packet.Config{Filter: filter})
}

// claims is the program that passes ARP frames whose sender says it has one of
// the addresses. It spares this process the other ARP frames of a segment,
// which may be thousands a second; those it passes are judged by Parse.
func claims(addresses []netip.Addr) []bpf.Instruction {
	drop, pass := bpf.RetConstant{Val: 0}, bpf.RetConstant{Val: 128}
	p := []bpf.Instruction{
		// PACKET_HOST, _BROADCAST and _MULTICAST are below PACKET_OTHERHOST, which
		// the kernel's ARP does not take either (net/ipv4/arp.c, arp_rcv): that is
		// what comes from VLANs which the interface is not in, their tag cut off
		// already (net/core/dev.c, __netif_receive_skb_core).
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: 3, SkipTrue: 1}, drop,
		bpf.LoadAbsolute{Off: 12, Size: 2}, // EtherType
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(ethernet.EtherTypeARP), SkipTrue: 1}, drop,
		bpf.LoadAbsolute{Off: 14, Size: 4}, // ar$hrd and ar$pro
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 1<<16 | uint32(ethernet.EtherTypeIPv4), SkipTrue: 1}, drop,
		bpf.LoadAbsolute{Off: 18, Size: 2}, // ar$hln and ar$pln
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 6<<8 | 4, SkipTrue: 1}, drop,
		bpf.LoadAbsolute{Off: 28, Size: 4}, // ar$spa
	}
	for _, a := range addresses {
		if a.Is4() {
			p = append(p, bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(a.AsSlice()), SkipFalse: 1}, pass)
		}
	}
	return append(p, drop)
}

package arp

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
)

// tap opens a socket that reads claims to the addresses. The frames that this host sends do not
// come back: the kernel passes outgoing frames to sockets for all protocols only (net/core/dev.c,
// dev_queue_xmit_nit).
func tap(index int, addresses []netip.Addr) (*packet.Conn, error) {
	filter, err := bpf.Assemble(claims(addresses))
	if err != nil {
		return nil, fmt.Errorf("assemble filter: %w", err)
	}
	return open(index, int(ethernet.EtherTypeARP), &packet.Config{Filter: filter})
}

// claims returns a program that passes ARP frames whose sender address is one of the addresses. It
// keeps the other ARP frames of a segment, possibly thousands a second, away from this process;
// Parse judges the frames that pass.
func claims(addresses []netip.Addr) []bpf.Instruction {
	drop, pass := bpf.RetConstant{Val: 0}, bpf.RetConstant{Val: 128}
	p := []bpf.Instruction{
		// PACKET_HOST, _BROADCAST and _MULTICAST are below PACKET_OTHERHOST, which the kernel's ARP
		// ignores, too (net/ipv4/arp.c, arp_rcv): frames from VLANs that the interface is not in,
		// with their tag already removed (net/core/dev.c, __netif_receive_skb_core).
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

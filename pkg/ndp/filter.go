package ndp

import (
	"encoding/binary"
	"net/netip"

	"github.com/mdlayher/ethernet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Types of ICMPv6 messages (RFC 4861 section 4).
const (
	solicitationType  = 135
	advertisementType = 136
)

// Positions in a frame, in bytes.
const (
	etherTypeAt = 12
	headerAt    = 14
	typeAt      = headerAt + headerSize
	targetAt    = typeAt + 8 // of both messages
)

var drop, pass = bpf.RetConstant{Val: 0}, bpf.RetConstant{Val: 256}

// claims returns a program that passes frames in which a machine may claim one of the addresses, see
// Parse. It keeps the other frames away from this process: all IPv6 traffic of the host, and the
// solicitations of clients for the addresses.
func claims(addresses []netip.Addr) []bpf.Instruction {
	var advertised, solicited, from []bpf.Instruction
	for _, a := range addresses {
		if a.Is6() {
			advertised = append(advertised, passIf(targetAt, a)...)
			from = append(from, passIf(headerAt+fromOffset, a)...)
		}
	}
	solicited = append(from, dropUnlessZero(headerAt+fromOffset)...)
	solicited = append(solicited, advertised...)
	solicited = append(solicited, drop)
	p := []bpf.Instruction{
		// Frames for other hosts, see package arp.
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: 3, SkipTrue: 1}, drop,
		bpf.LoadAbsolute{Off: etherTypeAt, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(ethernet.EtherTypeIPv6), SkipTrue: 1}, drop,
		bpf.LoadAbsolute{Off: headerAt + nextOffset, Size: 2}, // with the hop limit
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_ICMPV6<<8 | hopLimit, SkipTrue: 1}, drop,
		bpf.LoadAbsolute{Off: typeAt, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: advertisementType, SkipFalse: 1},
		bpf.Jump{Skip: uint32(len(solicited)) + 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: solicitationType, SkipTrue: 1}, drop,
	}
	return append(append(append(p, solicited...), advertised...), drop)
}

// passIf passes a frame with the address at the offset.
func passIf(offset int, a netip.Addr) (p []bpf.Instruction) {
	const words = 4
	b := a.As16()
	for i := range words {
		rest := uint8(2*(words-1-i) + 1)
		p = append(p, bpf.LoadAbsolute{Off: uint32(offset + 4*i), Size: 4},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(b[4*i:]), SkipFalse: rest})
	}
	return append(p, pass)
}

// dropUnlessZero drops a frame whose address at the offset is not the unspecified one.
func dropUnlessZero(offset int) (p []bpf.Instruction) {
	for i := range 4 {
		p = append(p, bpf.LoadAbsolute{Off: uint32(offset + 4*i), Size: 4}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1}, drop)
	}
	return p
}

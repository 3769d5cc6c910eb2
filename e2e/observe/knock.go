package observe

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/mdlayher/ethernet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
)

// Knock sends packets for the VIP to each node, whether or not it has the VIP, by TCP and ICMP in
// turn, and records which nodes accept them. Its frames have the MAC of the node as destination, as
// with a static neighbour entry. So it detects a node that has the VIP and is silent by ARP only.
//
// The packets have a TTL of 1: if the packet is not for the node, it ends there even though the
// node forwards (net/ipv4/ip_forward.c), and no other node answers it.
type Knock struct {
	Host  *lab.Host
	Nodes []*lab.Node
	To    netip.AddrPort
}

// Run knocks and listens until ctx ends.
func (k *Knock) Run(ctx context.Context, to *record.Recorder, ready func()) error {
	// The answer to a SYN is repeated if it is not acknowledged: only the first one counts.
	seen := make(map[uint32]bool)
	f := frames{
		host: k.Host, protocol: unix.ETH_P_IP, name: "IP", filter: k.filter(), every: record.KnockInterval,
		ask: func(n uint32, send func(ethernet.Frame) error) error { return k.knock(n, to, send) },
		hear: func(at record.Time, f ethernet.Frame) {
			if seq, ok := accepted(f.Payload); ok && !seen[seq] {
				seen[seq] = true
				to.Acceptance(record.Acceptance{Seq: seq, At: at, MAC: f.Source.String()})
			}
		},
	}
	return f.run(ctx, to, ready)
}

// knock sends a knock to each node.
func (k *Knock) knock(n uint32, to *record.Recorder, send func(ethernet.Frame) error) error {
	for i, node := range k.Nodes {
		j := record.Knock{Seq: n*uint32(len(k.Nodes)) + uint32(i), Node: node.Name, How: "tcp"}
		packetOf := k.syn
		if n%2 == 0 {
			j.How, packetOf = "icmp", k.echo
		}
		protocol, payload := packetOf(j.Seq)
		frame := k.frame(node.PresentMAC(), protocol, payload)
		j.At = record.Now()
		to.Knock(j)
		if err := send(frame); err != nil {
			return err
		}
	}
	return nil
}

const (
	ipHeader  = 20 // without options
	tcpHeader = 20
	icmpData  = 8
	echoID    = 0x7669 // "vi"
	oneHop    = 1
)

// accepted returns the number of the knock that a packet answers: a SYN is acknowledged, or reset
// if no server listens, with the number after its own (RFC 9293, 3.10.7); an echo reply repeats the
// data (RFC 792).
func accepted(ip []byte) (seq uint32, ok bool) {
	if len(ip) < ipHeader || ip[0] != 0x45 {
		return 0, false
	}
	switch payload := ip[ipHeader:]; {
	case ip[9] == unix.IPPROTO_TCP && len(payload) >= tcpHeader:
		return binary.BigEndian.Uint32(payload[8:]) - 1, payload[13]&flagACK != 0
	case ip[9] == unix.IPPROTO_ICMP && len(payload) >= icmpData+4:
		reply := payload[0] == 0 && binary.BigEndian.Uint16(payload[4:]) == echoID
		return binary.BigEndian.Uint32(payload[icmpData:]), reply
	}
	return 0, false
}

// frame returns the frame with an IP payload for a node.
func (k *Knock) frame(dst net.HardwareAddr, protocol byte, payload []byte) ethernet.Frame {
	from, vip := k.Host.IP.As4(), k.To.Addr().As4()
	ip := make([]byte, ipHeader, ipHeader+len(payload))
	ip[0] = 0x45 // version 4, a header of 5 words
	binary.BigEndian.PutUint16(ip[2:], uint16(ipHeader+len(payload)))
	ip[8], ip[9] = oneHop, protocol
	copy(ip[12:], from[:])
	copy(ip[16:], vip[:])
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	return ethernet.Frame{Destination: dst, Source: k.Host.MAC, EtherType: ethernet.EtherTypeIPv4, Payload: append(ip, payload...)}
}

const (
	flagSYN = 1 << 1
	flagACK = 1 << 4
)

// syn returns a SYN. The host's kernel, which does not know the connection, resets it, so that the
// server never sees it.
func (k *Knock) syn(seq uint32) (protocol byte, payload []byte) {
	const ports, first = 40000, 20000 // another port each time
	tcp := make([]byte, tcpHeader)
	binary.BigEndian.PutUint16(tcp, uint16(first+seq%ports))
	binary.BigEndian.PutUint16(tcp[2:], k.To.Port())
	binary.BigEndian.PutUint32(tcp[4:], seq)
	tcp[12], tcp[13] = tcpHeader/4<<4, flagSYN
	binary.BigEndian.PutUint16(tcp[14:], 1<<15) // window
	from, vip := k.Host.IP.As4(), k.To.Addr().As4()
	pseudo := append(append(from[:], vip[:]...), 0, unix.IPPROTO_TCP, 0, tcpHeader) // RFC 9293, 3.1
	binary.BigEndian.PutUint16(tcp[16:], checksum(append(pseudo, tcp...)))
	return unix.IPPROTO_TCP, tcp
}

func (k *Knock) echo(seq uint32) (protocol byte, payload []byte) {
	icmp := make([]byte, icmpData+4)
	icmp[0] = 8 // echo
	binary.BigEndian.PutUint16(icmp[4:], echoID)
	binary.BigEndian.PutUint16(icmp[6:], uint16(seq))
	binary.BigEndian.PutUint32(icmp[icmpData:], seq)
	binary.BigEndian.PutUint16(icmp[2:], checksum(icmp))
	return unix.IPPROTO_ICMP, icmp
}

// checksum returns the checksum of RFC 1071, of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// filter passes packets from the VIP.
func (k *Knock) filter() []bpf.RawInstruction {
	const source = 14 + 12 // ethernet header, then the offset in IPv4
	ip := k.To.Addr().As4()
	return assemble(
		bpf.LoadAbsolute{Off: source, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(ip[:]), SkipFalse: 1},
		bpf.RetConstant{Val: 1500},
		bpf.RetConstant{Val: 0},
	)
}

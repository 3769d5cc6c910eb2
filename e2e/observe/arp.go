package observe

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
)

// ARP broadcasts ARP requests for the VIP, and records all answers; the first prober also records
// all gratuitous announcements. Together the probers send a probe every 5 ms, in two forms in turn:
// RFC 5227's probe, with sender IP 0.0.0.0, and the request of a host that wants to send, from an
// address that no host has. So no probe changes an entry for a real host in an ARP table.
type ARP struct {
	Host *lab.Host
	VIP  netip.Addr
	// Number is the index of this prober, from 0, and Of the number of probers.
	Number, Of int
}

// ARPs returns the ARP probers of a lab: in the observer and in the second client.
func ARPs(l *lab.Lab) Observers {
	return Observers{
		&ARP{Host: l.Observer, VIP: l.VIP, Number: 0, Of: 2},
		&ARP{Host: l.Clients[1], VIP: l.VIP, Number: 1, Of: 2},
	}
}

// Run probes and listens until ctx ends.
func (a *ARP) Run(ctx context.Context, to *record.Recorder, ready func()) error {
	f := frames{
		host: a.Host, protocol: unix.ETH_P_ARP, name: "ARP", filter: a.filter(), every: time.Duration(max(1, a.Of)) * record.ProbeInterval,
		ask: func(n uint32, send func(ethernet.Frame) error) error { return a.probe(n, to, send) },
		hear: func(at record.Time, f ethernet.Frame) {
			var pkt arp.Packet
			if pkt.UnmarshalBinary(f.Payload) == nil { // malformed frames are ignored
				a.note(at, f.Destination, &pkt, to)
			}
		},
	}
	return f.run(ctx, to, ready)
}

func (a *ARP) probe(n uint32, to *record.Recorder, send func(ethernet.Frame) error) error {
	p := record.Probe{Seq: n*uint32(max(1, a.Of)) + uint32(a.Number), From: a.Host.Name, Ordinary: n%2 == 0}
	frame, err := a.requestFrame(p)
	if err != nil {
		return err
	}
	p.At = record.Now()
	to.Probe(p)
	return send(frame)
}

// note records a frame whose sender claims the VIP.
func (a *ARP) note(at record.Time, dst net.HardwareAddr, pkt *arp.Packet, to *record.Recorder) {
	sender := pkt.SenderHardwareAddr.String()
	seq, probed := a.seqOf(pkt.TargetHardwareAddr)
	switch {
	case pkt.Operation == arp.OperationReply && probed:
		to.Answer(record.Answer{Seq: seq, At: at, MAC: sender})
	case a.Number == 0 && pkt.TargetIP == a.VIP && dst[0]&1 == 1: // broadcast or multicast
		op := "request"
		if pkt.Operation == arp.OperationReply {
			op = "reply"
		}
		to.Announcement(record.Announcement{At: at, MAC: sender, Op: op})
	}
}

// mark returns the beginning of the sender hardware address of a prober's requests; the number of
// the probe follows. The answer goes to that address and repeats it. No switch port has the
// address, so the bridge floods the answer, and the prober gets it; the source address of the frame
// is still that of the interface.
func (a *ARP) mark() [3]byte { return [3]byte{0x06, 0x61, 0x72 + byte(a.Number)} } // locally administered, "ar"

func (a *ARP) requestFrame(p record.Probe) (frame ethernet.Frame, err error) {
	var number [4]byte
	binary.BigEndian.PutUint32(number[:], p.Seq)
	mark := a.mark()
	sender := append(append(net.HardwareAddr{}, mark[:]...), number[1:]...)
	ip := netip.IPv4Unspecified()
	if p.Ordinary {
		ip = lab.AskerIP(a.Number)
	}
	pkt, err := arp.NewPacket(arp.OperationRequest, sender, ip, make(net.HardwareAddr, 6), a.VIP)
	if err != nil {
		return frame, err
	}
	payload, err := pkt.MarshalBinary()
	return ethernet.Frame{Destination: ethernet.Broadcast, Source: a.Host.MAC, EtherType: ethernet.EtherTypeARP, Payload: payload}, err
}

func (a *ARP) seqOf(mac net.HardwareAddr) (seq uint32, ok bool) {
	if mark := a.mark(); len(mac) != 6 || string(mac[:3]) != string(mark[:]) {
		return 0, false
	}
	return uint32(mac[3])<<16 | uint32(mac[4])<<8 | uint32(mac[5]), true
}

// filter passes the ARP frames whose sender IP is the VIP: answers to this prober's own requests,
// and announcements, but neither requests of others nor answers to those.
func (a *ARP) filter() []bpf.RawInstruction {
	const senderIP, targetMAC = 14 + 14, 14 + 18 // ethernet header, then the offset in ARP
	ip, mark := a.VIP.As4(), a.mark()
	return assemble(
		bpf.LoadAbsolute{Off: senderIP, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(ip[:]), SkipFalse: 5},
		bpf.LoadAbsolute{Off: targetMAC, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(binary.BigEndian.Uint16(mark[:2])), SkipTrue: 2},
		bpf.LoadAbsolute{Off: targetMAC + 2, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(mark[2]), SkipTrue: 1},
		bpf.RetConstant{Val: 1500},
		bpf.RetConstant{Val: 0},
	)
}

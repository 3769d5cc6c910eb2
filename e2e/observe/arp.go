package observe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/record"
)

// ARP asks who has the VIP, as a broadcast every 5 ms, and records every
// answer and every gratuitous announcement. The question is RFC 5227's probe,
// with sender IP 0.0.0.0, so that it changes nobody's ARP table.
type ARP struct {
	NS        *lab.Namespace
	Interface string
	VIP       netip.Addr
}

// Run probes and listens.
func (a *ARP) Run(ctx context.Context, to *record.Recorder, ready func()) error {
	var (
		conn *packet.Conn
		nic  *net.Interface
	)
	err := a.NS.Do(func() (err error) {
		if nic, err = net.InterfaceByName(a.Interface); err != nil {
			return err
		}
		conn, err = packet.Listen(nic, packet.Raw, unix.ETH_P_ARP, &packet.Config{Filter: fromVIP(a.VIP)})
		return err
	})
	if err != nil {
		return fmt.Errorf("open ARP socket in %s: %w", a.NS.Name, err)
	}
	defer conn.Close()
	ready()
	g, ctx := errgroup.WithContext(ctx)
	// A deadline in the past ends a read that waits.
	unblock := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(0, 1)) })
	defer unblock()
	g.Go(func() error { return a.probe(ctx, conn, nic.HardwareAddr, to) })
	g.Go(func() error { return a.listen(conn, to) })
	return g.Wait()
}

func (a *ARP) probe(ctx context.Context, conn *packet.Conn, own net.HardwareAddr, to *record.Recorder) error {
	ticker := time.NewTicker(record.ProbeInterval)
	defer ticker.Stop()
	for seq := uint32(1); ; seq++ {
		frame, err := probeFrame(own, a.VIP, seq)
		if err != nil {
			return fmt.Errorf("make ARP probe: %w", err)
		}
		to.Probe(record.Probe{Seq: seq, At: record.Now()})
		if _, err := conn.WriteTo(frame, &packet.Addr{HardwareAddr: ethernet.Broadcast}); err != nil {
			return fmt.Errorf("send ARP probe: %w", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// listen reads until the deadline that the end of the context sets.
func (a *ARP) listen(conn *packet.Conn, to *record.Recorder) error {
	buf := make([]byte, 1500)
	for {
		n, _, err := conn.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read ARP: %w", err)
		}
		at := record.Now()
		var frame ethernet.Frame
		var pkt arp.Packet
		if frame.UnmarshalBinary(buf[:n]) != nil || pkt.UnmarshalBinary(frame.Payload) != nil {
			continue // malformed: nobody's claim
		}
		a.note(at, frame.Destination, &pkt, to)
	}
}

// note records a frame whose sender claims the VIP.
func (a *ARP) note(at record.Time, dst net.HardwareAddr, pkt *arp.Packet, to *record.Recorder) {
	sender := pkt.SenderHardwareAddr.String()
	seq, probed := seqOf(pkt.TargetHardwareAddr)
	switch {
	case pkt.Operation == arp.OperationReply && probed:
		to.Answer(record.Answer{Seq: seq, At: at, MAC: sender})
	case pkt.TargetIP == a.VIP && dst[0]&1 == 1: // broadcast or multicast
		op := "request"
		if pkt.Operation == arp.OperationReply {
			op = "reply"
		}
		to.Announcement(record.Announcement{At: at, MAC: sender, Op: op})
	}
}

// probeMark begins the sender hardware address of each probe; the number of
// the probe follows. The answer goes to that address and repeats it. No
// switch port has it, so the bridge floods the answer and it arrives here;
// the frame's own source address stays the interface's.
var probeMark = []byte{0x06, 0x61, 0x72} // locally administered, "ar"

func probeFrame(own net.HardwareAddr, vip netip.Addr, seq uint32) ([]byte, error) {
	var number [4]byte
	binary.BigEndian.PutUint32(number[:], seq)
	sender := append(append(net.HardwareAddr{}, probeMark...), number[1:]...)
	pkt, err := arp.NewPacket(arp.OperationRequest, sender, netip.IPv4Unspecified(), make(net.HardwareAddr, 6), vip)
	if err != nil {
		return nil, err
	}
	payload, err := pkt.MarshalBinary()
	if err != nil {
		return nil, err
	}
	frame := ethernet.Frame{Destination: ethernet.Broadcast, Source: own, EtherType: ethernet.EtherTypeARP, Payload: payload}
	return frame.MarshalBinary()
}

func seqOf(mac net.HardwareAddr) (seq uint32, ok bool) {
	if len(mac) != 6 || string(mac[:3]) != string(probeMark) {
		return 0, false
	}
	return uint32(mac[3])<<16 | uint32(mac[4])<<8 | uint32(mac[5]), true
}

// fromVIP passes the ARP frames whose sender IP is the VIP: answers and
// announcements, but not the questions of others.
func fromVIP(vip netip.Addr) []bpf.RawInstruction {
	const senderIP = 14 + 14 // ethernet header, then the offset in ARP
	ip := vip.As4()
	filter, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: senderIP, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(ip[:]), SkipFalse: 1},
		bpf.RetConstant{Val: 1500},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		panic(err) // a constant program
	}
	return filter
}

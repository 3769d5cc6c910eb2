package bench

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/e2e/lab"
)

// protocolVRRP is the IP protocol of VRRP, and of CARP.
const protocolVRRP = 112

// wire counts the frames that a node sends for the VIP: VRRP, and ARP with the VIP as sender or
// target.
type wire struct {
	frames atomic.Int64
	conn   *packet.Conn
	done   chan struct{}
}

func listen(n *lab.Node, vip netip.Addr) (*wire, error) {
	w := &wire{done: make(chan struct{})}
	err := n.NS.Do(func() error {
		nic, err := net.InterfaceByName(lab.Interface)
		if err != nil {
			return err
		}
		// Only a socket for all protocols gets outgoing frames.
		w.conn, err = packet.Listen(nic, packet.Raw, unix.ETH_P_ALL, &packet.Config{Filter: ofVIP(vip, nic.HardwareAddr)})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("count frames of %s: %w", n.Name, err)
	}
	go func() {
		defer close(w.done)
		buf := make([]byte, 64)
		for {
			if _, _, err := w.conn.ReadFrom(buf); err != nil {
				return // the deadline that close sets
			}
			w.frames.Add(1)
		}
	}()
	return w, nil
}

func (w *wire) close() {
	_ = w.conn.SetReadDeadline(time.Unix(0, 1)) // ends a blocked read
	<-w.done
	_ = w.conn.Close()
}

// ofVIP passes the frames to count, from one MAC.
func ofVIP(vip netip.Addr, own net.HardwareAddr) []bpf.RawInstruction {
	address := binary.BigEndian.Uint32(vip.AsSlice())
	const (
		header     = 14
		ipProtocol = header + 9
		arpSender  = header + 14
		arpTarget  = header + 24
	)
	filter, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 6, Size: 4}, // source
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(own), SkipTrue: 12},
		bpf.LoadAbsolute{Off: 10, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(binary.BigEndian.Uint16(own[4:])), SkipTrue: 10},
		bpf.LoadAbsolute{Off: 12, Size: 2}, // EtherType
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_ARP, SkipTrue: 3},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ETH_P_IP, SkipTrue: 7},
		bpf.LoadAbsolute{Off: ipProtocol, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolVRRP, SkipTrue: 4, SkipFalse: 5},
		bpf.LoadAbsolute{Off: arpSender, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: address, SkipTrue: 2},
		bpf.LoadAbsolute{Off: arpTarget, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: address, SkipTrue: 1},
		bpf.RetConstant{Val: 64},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		panic(err) // constant except for the addresses
	}
	return filter
}

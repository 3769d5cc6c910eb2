package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/packet"
)

// Announce broadcasts a gratuitous ARP reply for an address from the host, whether or not the host
// has the address.
func (h *Host) Announce(addr netip.Addr) error {
	frame, err := announcement(h.PresentMAC(), addr)
	if err == nil {
		err = h.NS.Do(func() error { return broadcast(frame) })
	}
	if err != nil {
		return fmt.Errorf("announce %s from %s: %w", addr, h.Name, err)
	}
	return nil
}

func announcement(mac net.HardwareAddr, addr netip.Addr) ([]byte, error) {
	pkt, err := arp.NewPacket(arp.OperationReply, mac, addr, mac, addr)
	if err != nil {
		return nil, err
	}
	payload, err := pkt.MarshalBinary()
	if err != nil {
		return nil, err
	}
	frame := ethernet.Frame{Destination: ethernet.Broadcast, Source: mac, EtherType: ethernet.EtherTypeARP, Payload: payload}
	return frame.MarshalBinary()
}

// broadcast sends a frame from eth0 of the thread's namespace.
func broadcast(frame []byte) error {
	nic, err := net.InterfaceByName(Interface)
	if err != nil {
		return err
	}
	conn, err := packet.Listen(nic, packet.Raw, int(ethernet.EtherTypeARP), nil)
	if err != nil {
		return err
	}
	_, err = conn.WriteTo(frame, &packet.Addr{HardwareAddr: ethernet.Broadcast})
	return errors.Join(err, conn.Close())
}

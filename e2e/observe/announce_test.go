package observe_test

import (
	"errors"
	"net"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/packet"

	"github.com/vipd-io/vipd/e2e/lab"
)

// take makes the node the holder, as far as the network can tell.
func take(n *lab.Node) error {
	return errors.Join(n.AddAddress(lab.VIP), announce(n))
}

// announce sends one gratuitous ARP reply for the VIP from the node.
func announce(n *lab.Node) error {
	pkt, err := arp.NewPacket(arp.OperationReply, n.MAC, lab.VIP, n.MAC, lab.VIP)
	if err != nil {
		return err
	}
	payload, err := pkt.MarshalBinary()
	if err != nil {
		return err
	}
	frame := ethernet.Frame{Destination: ethernet.Broadcast, Source: n.MAC, EtherType: ethernet.EtherTypeARP, Payload: payload}
	b, err := frame.MarshalBinary()
	if err != nil {
		return err
	}
	return n.NS.Do(func() error {
		nic, err := net.InterfaceByName(lab.Interface)
		if err != nil {
			return err
		}
		conn, err := packet.Listen(nic, packet.Raw, int(ethernet.EtherTypeARP), nil)
		if err != nil {
			return err
		}
		_, err = conn.WriteTo(b, &packet.Addr{HardwareAddr: ethernet.Broadcast})
		return errors.Join(err, conn.Close())
	})
}

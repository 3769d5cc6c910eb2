package main

import (
	"testing"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/packet"

	"github.com/vipd-io/vipd/internal/nstest"
)

// answersAll makes a machine answer each ARP request, as the network of a cloud does, and forward
// the packets that it gets as a result.
func (s *site) answersAll(ns *nstest.NS) {
	s.t.Helper()
	s.sysctlOf(ns, "ipv4/conf/all/forwarding", "1")
	conn, mac := ns.Frames("eth0", nstest.EtherTypeARP), ns.Link("eth0").Attrs().HardwareAddr
	done := make(chan struct{})
	s.t.Cleanup(func() { _ = conn.Close(); <-done })
	go func() {
		defer close(done)
		for b := make([]byte, 256); ; {
			n, _, err := conn.ReadFrom(b)
			if err != nil {
				return // closed
			}
			var f ethernet.Frame
			var q arp.Packet
			if f.UnmarshalBinary(b[:n]) != nil || q.UnmarshalBinary(f.Payload) != nil || q.Operation != arp.OperationRequest || q.SenderIP == q.TargetIP || f.Source.String() == mac.String() {
				continue
			}
			reply, err := arp.NewPacket(arp.OperationReply, mac, q.TargetIP, q.SenderHardwareAddr, q.SenderIP)
			if err != nil {
				s.t.Errorf("build answer: %v", err)
				return
			}
			payload, err := reply.MarshalBinary()
			if err != nil {
				s.t.Errorf("encode answer: %v", err)
				return
			}
			out, err := (&ethernet.Frame{Destination: q.SenderHardwareAddr, Source: mac, EtherType: ethernet.EtherTypeARP, Payload: payload}).MarshalBinary()
			if err != nil {
				s.t.Errorf("encode frame: %v", err)
				return
			}
			_, _ = conn.WriteTo(out, &packet.Addr{HardwareAddr: q.SenderHardwareAddr}) // the link may be gone
		}
	}()
}

// TestDoctorProxyARP: a machine that answers every ARP request does not count as a second owner of
// the VIP, and the doctor also names a real second owner.
func TestDoctorProxyARP(t *testing.T) {
	const all = "answers ARP for " + testVIP + ", and for 192.168.35...which nobody has: it answers for every address"
	proxy := found{"D09", "warning", "proxy", all}
	diagnose(t, []diagnosis{
		{name: "beside the holder", fault: func(s *site) { s.answersAll(s.router) }, want: []found{proxy}, verdict: []string{better}},
		{name: "this node holds the VIP", fault: func(s *site) { s.hold(); s.answersAll(s.router) }, want: []found{proxy}, verdict: []string{better}},
		{name: "before kubeadm", fault: func(s *site) { s.preflight(); s.answersAll(s.router) }, want: []found{proxy}, verdict: []string{better}},
		{name: "and a stranger has the VIP", fault: func(s *site) {
			s.hold()
			s.answersAll(s.router)
			s.stranger.AddAddr("eth0", testVIP+"/32")
		}, want: []found{{"D09", "error", "stranger", "this node holds the VIP, and ... also answers for " + testVIP}, proxy}, verdict: []string{"Another machine answers for the VIP."}},
		{name: "and the stranger that has the VIP has proxy ARP", fault: func(s *site) {
			s.hold()
			s.sysctlOf(s.stranger, "ipv4/ip_forward", "1")
			s.sysctlOf(s.stranger, "ipv4/conf/eth0/proxy_arp_pvlan", "1")
			s.sysctlOf(s.stranger, "ipv4/neigh/eth0/proxy_delay", "0")
			s.stranger.AddAddr("eth0", testVIP+"/32")
		}, want: []found{{"D09", "error", "stranger", "this node holds the VIP, and ... also answers for " + testVIP}}, verdict: []string{"Another machine answers for the VIP."}},
		{name: "Linux's proxy ARP, which is silent", fault: func(s *site) {
			s.sysctlOf(s.router, "ipv4/conf/all/forwarding", "1")
			s.sysctlOf(s.router, "ipv4/conf/eth0/proxy_arp", "1")
			s.secondLink()
			s.route(s.router, "add 192.168.35.128/25 dev eth1")
		}, verdict: []string{"All is well"}},
	})
}

package main

import (
	"net/netip"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// TestDoctorSendsNothingThatMovesTraffic: no ARP frame of the node claims the VIP.
func TestDoctorSendsNothingThatMovesTraffic(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*site){
		"healthy": func(*site) {}, "holder": (*site).hold, "nobody": (*site).free,
		"left behind": func(s *site) { s.node.AddAddr("eth0", testVIP+"/32") },
		"stranger":    func(s *site) { s.free(); s.stranger.AddAddr("eth0", testVIP+"/32") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			fault(s)
			s.furnish()
			frames := s.node.Frames("eth0", unix.ETH_P_ALL) // this socket also sees sent frames
			s.consult()
			probes := 0
			for _, p := range s.sentUntilNow(frames) {
				switch {
				case p.Operation == arp.OperationRequest && p.SenderIP == netip.IPv4Unspecified():
					probes++ // a probe claims nothing
				case p.SenderIP == netip.MustParseAddr("192.168.35.11"): // a request of the kernel, from the node's own address
				default:
					t.Errorf("sent %+v", p)
				}
			}
			if probes < 4 { // one probe for the gateway, three for the VIP
				t.Errorf("sent %d probes, want 4 at least: this test does not see them", probes)
			}
		})
	}
}

// sentUntilNow returns the ARP packets that the node has sent.
func (s *site) sentUntilNow(frames *packet.Conn) (out []*arp.Packet) {
	s.t.Helper()
	const last = ethernet.EtherType(0x88b5) // an EtherType for experiments: IEEE 802, annex to clause 9
	mac := s.node.Link("eth0").Attrs().HardwareAddr
	end, err := (&ethernet.Frame{Destination: ethernet.Broadcast, Source: mac, EtherType: last}).MarshalBinary()
	must(s.t, err)
	_, err = s.node.Frames("eth0", int(last)).WriteTo(end, &packet.Addr{HardwareAddr: ethernet.Broadcast})
	must(s.t, err)
	must(s.t, frames.SetReadDeadline(time.Now().Add(time.Minute)))
	for b := make([]byte, 64<<10); ; {
		n, _, err := frames.ReadFrom(b)
		must(s.t, err)
		var f ethernet.Frame
		if f.UnmarshalBinary(b[:n]) != nil || f.Source.String() != mac.String() {
			continue
		}
		if f.EtherType == last {
			return out
		}
		if f.EtherType == ethernet.EtherTypeARP {
			p := new(arp.Packet)
			must(s.t, p.UnmarshalBinary(append([]byte(nil), f.Payload...)))
			out = append(out, p)
		}
	}
}

// TestDoctorIsBounded: nothing that the doctor asks answers. The kernel's own timeout is two
// minutes (tcp_syn_retries in tcp(7)), and a server that sends nothing has no timeout at all.
// TestExamineIsBounded asserts the exact duration in fake time.
func TestDoctorIsBounded(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.free()
	s.secondLink()
	for _, gateway := range []string{"192.168.35.254", "192.168.35.253", "192.168.35.252", "192.168.35.251", "192.168.35.250"} {
		s.route(s.node, "append default via "+gateway)
	}
	s.route(s.node, "delete default via 192.168.35.1")
	s.servers = []string{"10.8.8.1", "10.8.8.2", "10.8.8.3"}
	s.own, s.atVIP = server{mute: true}, server{}
	s.silent()
	s.furnish()
	began := time.Now()
	exit, got := s.examine()
	if took := time.Since(began); took > time.Minute {
		t.Errorf("took %s", took)
	}
	diagnosis{
		want: []found{
			{"D02", "error", "", "the gateway 192.168.35.254"}, {"D02", "error", "", "the gateway 192.168.35.253"}, {"D02", "error", "", "the gateway 192.168.35.252"},
			{"D02", "error", "", "the gateway 192.168.35.251"}, {"D02", "error", "", "the gateway 192.168.35.250"},
			{"D13", "error", "no server", "10.8.8.1:53"}, {"D13", "error", "no server", "10.8.8.2:53"}, {"D13", "error", "no server", "10.8.8.3:53"},
			{"D14", "error", "nobody", testVIP}, {"D16", "error", "silent", "127.0.0.1:6443"},
		},
		verdict: []string{"This is neither Cluster API nor vipd"},
	}.compare(t, exit, got)
}

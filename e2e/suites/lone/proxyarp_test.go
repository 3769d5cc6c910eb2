package lone

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/packet"

	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// set sets a sysctl of a host below /proc/sys/net/ipv4 until the end of the test.
func set(t *testing.T, h *lab.Host, name, value string) {
	t.Helper()
	path := "/proc/sys/net/ipv4/" + name
	before, err := h.Run(t.Context(), "cat", path)
	must(t, err)
	write := func(ctx context.Context, value string) {
		_, err := h.Run(ctx, "sh", "-c", "echo "+strings.TrimSpace(value)+" > "+path)
		must(t, err)
	}
	write(t.Context(), value)
	t.Cleanup(func() { write(context.WithoutCancel(t.Context()), before) })
}

// forward makes a host forward packets to the other hosts of its link.
func forward(t *testing.T, h *lab.Host) {
	t.Helper()
	set(t, h, "ip_forward", "1")
	set(t, h, "conf/"+lab.Interface+"/send_redirects", "0")
}

// linuxProxy makes a host answer for every address by Linux's proxy ARP, which answers requests of a
// host, and not the probes of RFC 5227 (net/ipv4/arp.c, arp_process). The delay is in ticks of 10 ms.
func linuxProxy(t *testing.T, h *lab.Host, delay string) {
	t.Helper()
	forward(t, h)
	set(t, h, "neigh/"+lab.Interface+"/proxy_delay", delay)
	set(t, h, "conf/"+lab.Interface+"/proxy_arp_pvlan", "1")
}

// cloud makes a host answer every question by ARP at once, until the end of the test.
func cloud(t *testing.T, h *lab.Host) {
	t.Helper()
	forward(t, h)
	var conn *packet.Conn
	must(t, h.NS.Do(func() error {
		nic, err := net.InterfaceByName(lab.Interface)
		if err == nil {
			conn, err = packet.Listen(nic, packet.Raw, int(ethernet.EtherTypeARP), nil)
		}
		return err
	}))
	done := make(chan struct{})
	t.Cleanup(func() { _ = conn.Close(); <-done })
	mac := h.PresentMAC()
	go func() {
		defer close(done)
		for b := make([]byte, 256); ; {
			n, _, err := conn.ReadFrom(b)
			if err != nil {
				return // closed
			}
			if out, to := answer(b[:n], mac); out != nil {
				_, _ = conn.WriteTo(out, &packet.Addr{HardwareAddr: to})
			}
		}
	}()
}

// answer returns the answer to a frame if the frame is a request of another machine.
func answer(frame []byte, mac net.HardwareAddr) (out []byte, to net.HardwareAddr) {
	var f ethernet.Frame
	var q arp.Packet
	if f.UnmarshalBinary(frame) != nil || q.UnmarshalBinary(f.Payload) != nil || q.Operation != arp.OperationRequest || q.SenderIP == q.TargetIP || f.Source.String() == mac.String() {
		return nil, nil
	}
	reply, err := arp.NewPacket(arp.OperationReply, mac, q.TargetIP, q.SenderHardwareAddr, q.SenderIP)
	if err != nil {
		return nil, nil
	}
	payload, err := reply.MarshalBinary()
	if err != nil {
		return nil, nil
	}
	out, err = (&ethernet.Frame{Destination: q.SenderHardwareAddr, Source: mac, EtherType: ethernet.EtherTypeARP, Payload: payload}).MarshalBinary()
	if err != nil {
		return nil, nil
	}
	return out, q.SenderHardwareAddr
}

const (
	answersAll = "the network answers every ARP question"
	answers    = "another machine answers for the VIP"
)

// fabrics are networks beside a first claim, and what vipd says. A rival has the VIP.
var fabrics = []struct {
	name  string
	make  func(t *testing.T, l *lab.Lab)
	says  string
	rival bool
}{
	{name: "nobody answers", make: func(*testing.T, *lab.Lab) {}},
	{name: "Linux, at once", make: func(t *testing.T, l *lab.Lab) { linuxProxy(t, l.Clients[0], "0") }},
	{name: "Linux, after up to 0.8 s", make: func(t *testing.T, l *lab.Lab) { linuxProxy(t, l.Clients[0], "80") }},
	{name: "Linux, and a program of the node asks", make: func(t *testing.T, l *lab.Lab) {
		linuxProxy(t, l.Clients[0], "0")
		askAlways(t, l)
	}, says: answersAll},
	{name: "a cloud", make: func(t *testing.T, l *lab.Lab) { cloud(t, l.Clients[0]) }, says: answersAll},
	{name: "a rival", make: func(t *testing.T, l *lab.Lab) { rival(t, l, l.Clients[1]) }, says: answers, rival: true},
	{name: "a rival with proxy ARP", make: func(t *testing.T, l *lab.Lab) {
		linuxProxy(t, l.Clients[1], "0")
		rival(t, l, l.Clients[1])
	}, says: answers, rival: true},
	{name: "a rival beside a cloud", make: func(t *testing.T, l *lab.Lab) {
		cloud(t, l.Clients[0])
		rival(t, l, l.Clients[1])
	}, says: answers, rival: true},
	{name: "a rival behind a cloud", make: func(t *testing.T, l *lab.Lab) {
		behind, front := l.Clients[1], l.Clients[0]
		cloud(t, front)
		set(t, behind, "conf/"+lab.Interface+"/arp_ignore", "8") // answers no question
		rival(t, l, behind)
		_, err := front.Run(t.Context(), "ip", "neighbour", "replace", l.VIP.String(), "lladdr", behind.PresentMAC().String(), "dev", lab.Interface)
		must(t, err)
		t.Cleanup(func() {
			_, err := front.Run(context.WithoutCancel(t.Context()), "ip", "neighbour", "delete", l.VIP.String(), "dev", lab.Interface)
			must(t, err)
		})
	}, says: answers, rival: true},
}

// besideProxyARP: a machine that answers ARP for every address delays the claim by the second of the
// inquiry, and vipd says once what it is. A machine that has the VIP delays the claim by a lease,
// whatever else answers.
func besideProxyARP(t *testing.T, l *lab.Lab) {
	claim(t, l) // leaves a Lease that was released
	for _, f := range fabrics {
		t.Run(f.name, func(t *testing.T) {
			f.make(t, l)
			took, log := claim(t, l)
			t.Logf("claimed after %s", took)
			for _, text := range []string{answersAll, answers} {
				want := 0
				if text == f.says {
					want = 1
				}
				if got := strings.Count(log, text); got != want {
					t.Errorf("%d lines with %q, want %d:\n%s", got, text, want, log)
				}
			}
			if f.rival != (took > leases) {
				t.Errorf("claimed after %s, rival: %t", took, f.rival)
			}
		})
	}
}

// rival gives a host the VIP until the end of the test.
func rival(t *testing.T, l *lab.Lab, h *lab.Host) {
	t.Helper()
	must(t, h.AddAddress(l.VIP))
	t.Cleanup(func() { must(t, h.RemoveAddress(l.VIP)) })
}

// askAlways makes the kernel of the node ask for the VIP by ARP again and again until the end of the
// test, as a kubelet does that connects to the VIP.
func askAlways(t *testing.T, l *lab.Lab) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	t.Cleanup(func() { stop(); <-done })
	go func() {
		defer close(done)
		for wait.For(ctx, 20*time.Millisecond) == nil {
			_, _ = l.Nodes[0].Run(ctx, "ip", "neighbour", "flush", "to", l.VIP.String())
			if c, err := l.Nodes[0].NS.Dial(ctx, "udp", l.Endpoint().String()); err == nil {
				_, _ = c.Write([]byte{0})
				_ = c.Close()
			}
		}
	}()
}

package netif

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/packet"

	"github.com/vipd-io/vipd/internal/nstest"
)

// cluster is two nodes that exchange the VIP, and a client, on one switch.
type cluster struct {
	t              *testing.T
	nodes          [2]*member
	client         *nstest.NS
	holder, waiter *member
}

// member is a node with a fence like that of package fence, without tickets.
type member struct {
	*nstest.NS
	h     *Handle
	index int
	arp   *packet.Conn
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, client: nstest.New(t)}
	namespaces := []*nstest.NS{c.client}
	for i := range c.nodes {
		c.nodes[i] = &member{NS: nstest.New(t)}
		namespaces = append(namespaces, c.nodes[i].NS)
	}
	nstest.Switch(t, namespaces, []string{"192.168.35.50/24", "192.168.35.11/24", "192.168.35.12/24"})
	for _, m := range c.nodes {
		h, err := Open(m.Fd())
		must(t, err)
		t.Cleanup(h.Close)
		m.h, m.index, m.arp = h, index(t, h), m.Frames("eth0", nstest.EtherTypeARP)
		run(t, m.NS, "sysctl", "-qw", "net.ipv4.ip_forward=1")
		run(t, m.NS, "nft", `add table arp fence; add set arp fence closed { type ipv4_addr; }
			add chain arp fence out { type filter hook output priority 0; }; add rule arp fence out arp saddr ip @closed drop
			add table ip fence; add set ip fence closed { type ipv4_addr; }
			add chain ip fence in { type filter hook input priority 0; }; add rule ip fence in ip daddr @closed drop`)
		listen(t, m.NS, ":6443")
	}
	c.holder, c.waiter = c.nodes[0], c.nodes[1]
	c.holder.take(t)
	return c
}

func run(t *testing.T, ns *nstest.NS, name string, args ...string) (out string) {
	t.Helper()
	must(t, ns.Do(func() error {
		b, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s %s: %w: %s", name, args, err, b)
		}
		out = string(b)
		return nil
	}))
	return out
}

func (m *member) divert() error {
	now, err := m.h.Snapshot()
	if err != nil {
		return err
	}
	return m.h.Divert(now, Place{Addr: vip, Link: m.index})
}

func (m *member) retire() (Retired, error) { return retire(m.h, m.index) }

func retire(h *Handle, index int) (Retired, error) {
	now, err := h.Snapshot()
	if err != nil {
		return Retired{}, err
	}
	return h.Retire(now, Place{Addr: vip, Link: index})
}

func (m *member) fence(t *testing.T, command string) {
	t.Helper()
	run(t, m.NS, "nft", fmt.Sprintf("%[1]s element arp fence closed { %[2]s }; %[1]s element ip fence closed { %[2]s }", command, vip))
}

// take adds the VIP and announces it.
func (m *member) take(t *testing.T) {
	t.Helper()
	must(t, put(t, m.h, m.index, time.Minute))
	mac := m.Link("eth0").Attrs().HardwareAddr
	for _, op := range []arp.Operation{arp.OperationRequest, arp.OperationReply} {
		p, err := arp.NewPacket(op, mac, vip, ethernet.Broadcast, vip)
		must(t, err)
		send(t, m.arp, mac, p)
	}
}

func send(t *testing.T, conn *packet.Conn, mac net.HardwareAddr, p *arp.Packet) {
	t.Helper()
	must(t, broadcast(conn, mac, p))
}

func broadcast(conn *packet.Conn, mac net.HardwareAddr, p *arp.Packet) error {
	payload, err := p.MarshalBinary()
	if err != nil {
		return err
	}
	f := ethernet.Frame{Destination: ethernet.Broadcast, Source: mac, EtherType: ethernet.EtherTypeARP, Payload: payload}
	b, err := f.MarshalBinary()
	if err != nil {
		return err
	}
	_, err = conn.WriteTo(b, &packet.Addr{HardwareAddr: ethernet.Broadcast})
	return err
}

// handOver moves the VIP, and returns how long a client had no connection.
func (c *cluster) handOver(client *nstest.NS) time.Duration {
	c.t.Helper()
	const address = "192.168.35.100:6443"
	idle := connect(c.t, client, address)
	must(c.t, idle.SetDeadline(time.Now().Add(time.Minute)))
	type back struct {
		at  time.Time
		err error
	}
	reconnected := make(chan back, 1)
	go func() {
		_, _ = idle.Read(make([]byte, 1))
		again, err := dial(client, address)
		reconnected <- back{time.Now(), err}
		if err == nil {
			_ = again.Close()
		}
	}()
	start := time.Now()
	must(c.t, c.holder.divert())
	c.holder.fence(c.t, "add")
	r, err := c.holder.retire()
	must(c.t, errors.Join(err, r.Err))
	if r.Connections == 0 {
		c.t.Error("Retire ended no connection")
	}
	time.Sleep(10 * time.Millisecond) // the Lease changes hands
	c.waiter.take(c.t)
	b := <-reconnected
	must(c.t, b.err)
	c.holder.fence(c.t, "delete")
	c.holder, c.waiter = c.waiter, c.holder
	return b.at.Sub(start)
}

// TestClientsFollowARetiredAddress: a dropped packet costs the client a second, and so does a
// missing reset.
func TestClientsFollowARetiredAddress(t *testing.T) {
	c := newCluster(t)
	addressing := func() (out string) {
		for _, m := range c.nodes {
			out += run(t, m.NS, "sh", "-c", "ip -4 route show table all; ip -4 -o address")
		}
		return out
	}
	const runs = 10
	late := 0
	for i := range runs {
		if i%2 == 1 { // the kernel has to send an ARP request for the reset, and that request must not claim the VIP
			run(t, c.holder.NS, "ip", "neigh", "flush", "all")
		}
		client := c.client
		if i%3 == 2 {
			client = c.holder.NS // like the kubelet of a node that gives the VIP up
		}
		took := c.handOver(client)
		t.Logf("reconnected after %v", took)
		if took > 900*time.Millisecond {
			late++
		}
	}
	if late > 1 { // one slow client is for a busy machine
		t.Errorf("the client had to wait for a retransmission in %d of %d hand-overs", late, runs)
	}
	must(t, c.holder.divert())
	_, err := c.holder.retire()
	must(t, err)
	after := addressing()
	must(t, put(t, c.holder.h, c.holder.index, time.Minute))
	must(t, remove(t, c.holder.h))
	if before := addressing(); after != before {
		t.Errorf("Divert and Retire left\n%s\nwant, as Remove does,\n%s", after, before)
	}
}

func TestDivertedAddressIsSilent(t *testing.T) {
	c := newCluster(t)
	m := c.holder
	ask := c.client.Frames("eth0", nstest.EtherTypeARP)
	mac := c.client.Link("eth0").Attrs().HardwareAddr
	own := netip.MustParseAddr("192.168.35.11")
	answers := func() (yes bool) { // silence is certain once the second request is answered
		t.Helper()
		nstest.InOrder(t, func() {
			for _, target := range []netip.Addr{vip, own} {
				p, err := arp.NewPacket(arp.OperationRequest, mac, netip.MustParseAddr("192.168.35.50"), make([]byte, 6), target)
				must(t, err)
				send(t, ask, mac, p)
			}
		})
		must(t, ask.SetReadDeadline(time.Now().Add(10*time.Second)))
		buf := make([]byte, 128)
		for {
			n, _, err := ask.ReadFrom(buf)
			must(t, err)
			var f ethernet.Frame
			var p arp.Packet
			if f.UnmarshalBinary(buf[:n]) != nil || p.UnmarshalBinary(f.Payload) != nil ||
				p.Operation != arp.OperationReply || !bytes.Equal(p.TargetHardwareAddr, mac) {
				continue
			}
			yes = yes || p.SenderIP == vip
			if p.SenderIP == own {
				return yes
			}
		}
	}
	if !answers() {
		t.Fatal("the holder does not answer for the VIP")
	}
	for range 2 { // the second time, there is nothing to delete
		must(t, m.divert())
	}
	if answers() {
		t.Error("a node answers for an address that it is to forward")
	}
	// After a Divert without a removal, a Put must make the address answer again.
	must(t, put(t, m.h, m.index, time.Minute))
	if !answers() {
		t.Error("the VIP is deaf after it was put up again")
	}
	must(t, alive(connect(t, c.client, "192.168.35.100:6443")))
}

func TestRetireRemovesTheAddressWhateverElseFails(t *testing.T) {
	_, h := node(t)
	must(t, put(t, h, index(t, h), time.Minute))
	h.diag.close()
	h.diag = nil
	r, err := retire(h, index(t, h))
	must(t, err)
	if !errors.Is(r.Err, ErrDestroyUnsupported) {
		t.Errorf("error = %v, want ErrDestroyUnsupported", r.Err)
	}
	if found, err := find(h, vip); len(found) != 0 || err != nil {
		t.Errorf("the VIP is on %v, %v", found, err)
	}
	if r, err = retire(h, index(t, h)); r.Connections != 0 || err != nil { // an address that is not there counts as removed
		t.Errorf("second Retire = %+v, %v", r, err)
	}
}

// Package nstest provides tests with network namespaces and real links, so that the tests use a
// real kernel. A test that cannot have them fails with the reason; it is never skipped.
package nstest

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// NS is a network namespace that is removed at the end of the test.
type NS struct {
	t      testing.TB
	handle netns.NsHandle
	// Links is a netlink handle in the namespace.
	Links *netlink.Handle
}

// New creates a namespace with its loopback up.
func New(t testing.TB) *NS {
	t.Helper()
	var h netns.NsHandle
	err := onOwnThread(func() (err error) {
		h, err = netns.New()
		return err
	})
	if err != nil {
		t.Fatalf("make network namespace: %v: this test needs root, or `unshare -Urn go test ...`", err)
	}
	links, err := netlink.NewHandleAt(h)
	if err != nil {
		t.Fatalf("open netlink in namespace: %v", err)
	}
	ns := &NS{t: t, handle: h, Links: links}
	t.Cleanup(func() { links.Close(); _ = h.Close() })
	ns.Up("lo")
	return ns
}

// Fd returns the file descriptor of the namespace, valid until the end of the test.
func (ns *NS) Fd() int { return int(ns.handle) }

// Do runs f on a thread in the namespace. Goroutines that f starts are not in the namespace;
// sockets that f opens stay in it.
func (ns *NS) Do(f func() error) error {
	return onOwnThread(func() error {
		if err := netns.Set(ns.handle); err != nil {
			return err
		}
		return f()
	})
}

// Pair connects two namespaces by a veth pair named eth0 at both ends, with the given addresses,
// and waits until frames pass.
func Pair(t testing.TB, a, b *NS, addrA, addrB string) {
	t.Helper()
	l := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(b.Fd())}
	if err := a.Links.LinkAdd(l); err != nil {
		t.Fatalf("add veth: %v", err)
	}
	a.AddAddr("eth0", addrA)
	b.AddAddr("eth0", addrB)
	a.Up("eth0")
	b.Up("eth0")
	a.awaitRunning("eth0")
	b.awaitRunning("eth0")
}

// Switch connects namespaces by a bridge in its own namespace. Each gets a link eth0 with its
// address, in the given order; the ports of the bridge are port0, port1 ... Switch waits until
// frames pass, and returns the namespace of the bridge.
func Switch(t testing.TB, nodes []*NS, addrs []string) *NS {
	t.Helper()
	hub := New(t)
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
	if err := hub.Links.LinkAdd(bridge); err != nil {
		t.Fatalf("add bridge: %v", err)
	}
	hub.Up("br0")
	for i, n := range nodes {
		port := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprintf("port%d", i)}, PeerName: "eth0", PeerNamespace: netlink.NsFd(n.Fd())}
		port.MasterIndex = hub.Link("br0").Attrs().Index
		if err := hub.Links.LinkAdd(port); err != nil {
			t.Fatalf("add veth: %v", err)
		}
		n.AddAddr("eth0", addrs[i])
		n.Up("eth0")
		hub.Up(port.Name)
		n.awaitRunning("eth0")
		hub.awaitRunning(port.Name)
	}
	return hub
}

// Link returns a link by name.
func (ns *NS) Link(name string) netlink.Link {
	ns.t.Helper()
	l, err := ns.Links.LinkByName(name)
	if err != nil {
		ns.t.Fatalf("look up %s: %v", name, err)
	}
	return l
}

// Up sets a link up.
func (ns *NS) Up(name string) {
	ns.t.Helper()
	if err := ns.Links.LinkSetUp(ns.Link(name)); err != nil {
		ns.t.Fatalf("set %s up: %v", name, err)
	}
}

// awaitRunning waits until the kernel has noticed the carrier of a link. Before that, the kernel
// drops outgoing frames silently (net/core/link_watch.c).
func (ns *NS) awaitRunning(name string) {
	ns.t.Helper()
	for began := time.Now(); ns.Link(name).Attrs().OperState != netlink.OperUp; time.Sleep(time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			ns.t.Fatalf("%s has no carrier after 20 s", name)
		}
	}
}

// Down sets a link down.
func (ns *NS) Down(name string) {
	ns.t.Helper()
	if err := ns.Links.LinkSetDown(ns.Link(name)); err != nil {
		ns.t.Fatalf("set %s down: %v", name, err)
	}
}

// AddAddr adds an address such as 192.168.35.11/24 to a link, without a lifetime. An IPv6 address can
// be used at once: nobody else has it.
func (ns *NS) AddAddr(name, prefix string) {
	ns.t.Helper()
	a, err := netlink.ParseAddr(prefix)
	if err != nil {
		ns.t.Fatal(err)
	}
	if a.IP.To4() == nil {
		a.Flags = unix.IFA_F_NODAD
	}
	if err := ns.Links.AddrAdd(ns.Link(name), a); err != nil {
		ns.t.Fatalf("add %s to %s: %v", prefix, name, err)
	}
}

// Addrs returns the IPv4 addresses of a link.
func (ns *NS) Addrs(name string) []netip.Prefix {
	ns.t.Helper()
	list, err := ns.Links.AddrList(ns.Link(name), netlink.FAMILY_V4)
	if err != nil {
		ns.t.Fatalf("list addresses of %s: %v", name, err)
	}
	var out []netip.Prefix
	for _, a := range list {
		ip, _ := netip.AddrFromSlice(a.IP.To4())
		bits, _ := a.Mask.Size()
		out = append(out, netip.PrefixFrom(ip, bits))
	}
	return out
}

// Frames opens a raw socket for one EtherType on a link.
func (ns *NS) Frames(name string, etherType int) *packet.Conn {
	ns.t.Helper()
	var c *packet.Conn
	err := ns.Do(func() error {
		ifi, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		c, err = packet.Listen(ifi, packet.Raw, etherType, nil)
		return err
	})
	if err != nil {
		ns.t.Fatalf("listen on %s: %v", name, err)
	}
	ns.t.Cleanup(func() { _ = c.Close() })
	return c
}

// The EtherTypes of ARP and IPv6 frames.
const (
	EtherTypeARP  = unix.ETH_P_ARP
	EtherTypeIPv6 = unix.ETH_P_IPV6
)

// onOwnThread runs f on a new thread that ends with f, so that f cannot leave other goroutines in
// another namespace.
func onOwnThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread
		done <- f()
	}()
	return <-done
}

// SetNeighbour adds a neighbour entry for addr with mac, as after a recent exchange.
func (ns *NS) SetNeighbour(name string, addr netip.Addr, mac net.HardwareAddr) {
	ns.t.Helper()
	n := &netlink.Neigh{LinkIndex: ns.Link(name).Attrs().Index, Family: family(addr),
		State: netlink.NUD_REACHABLE, IP: addr.AsSlice(), HardwareAddr: mac}
	if err := ns.Links.NeighSet(n); err != nil {
		ns.t.Fatalf("set neighbour %s: %v", addr, err)
	}
}

// Neighbour returns the MAC of the neighbour entry for addr, nil for none.
func (ns *NS) Neighbour(name string, addr netip.Addr) net.HardwareAddr {
	ns.t.Helper()
	list, err := ns.Links.NeighList(ns.Link(name).Attrs().Index, family(addr))
	if err != nil {
		ns.t.Fatalf("list neighbours: %v", err)
	}
	for _, n := range list {
		if n.IP.Equal(addr.AsSlice()) {
			return n.HardwareAddr
		}
	}
	return nil
}

func family(addr netip.Addr) int {
	if addr.Is4() {
		return netlink.FAMILY_V4
	}
	return netlink.FAMILY_V6
}

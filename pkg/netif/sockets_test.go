package netif

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/internal/nstest"
)

// listen opens a TCP port in a namespace and answers each byte with itself.
func listen(t testing.TB, ns *nstest.NS, address string) {
	t.Helper()
	var l net.Listener
	if err := ns.Do(func() (err error) { l, err = net.Listen("tcp", address); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go echo(c)
		}
	}()
}

func echo(c net.Conn) {
	b := make([]byte, 1)
	for {
		if _, err := c.Read(b); err != nil {
			break
		}
		if _, err := c.Write(b); err != nil {
			break
		}
	}
	_ = c.Close()
}

// dial connects from a namespace and makes sure that the server has accepted.
func dial(ns *nstest.NS, address string) (c net.Conn, err error) {
	err = ns.Do(func() error {
		c, err = net.DialTimeout("tcp", address, 10*time.Second)
		return err
	})
	if err == nil {
		err = alive(c)
	}
	return c, err
}

// alive tells whether the server answers on a connection.
func alive(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := c.Write([]byte{1}); err != nil {
		return err
	}
	_, err := c.Read(make([]byte, 1))
	return err
}

func connect(t testing.TB, ns *nstest.NS, address string) net.Conn {
	t.Helper()
	c, err := dial(ns, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// ended waits for the end of an idle connection.
func ended(t *testing.T, c net.Conn, how ...error) {
	t.Helper()
	must(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	_, err := c.Read(make([]byte, 1))
	if !slices.ContainsFunc(how, func(want error) bool { return errors.Is(err, want) }) {
		t.Errorf("read of a destroyed connection: %v, want %v", err, how)
	}
}

// serverAndClient are joined; the server has the VIP and a handle on it.
func serverAndClient(t testing.TB) (server, client *nstest.NS, h *Handle) {
	t.Helper()
	server, client = nstest.New(t), nstest.New(t)
	nstest.Pair(t, server, client, "192.168.35.11/24", "192.168.35.50/24")
	server.AddAddr("eth0", "192.168.35.100/32")
	h, err := Open(server.Fd())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return server, client, h
}

func TestDestroySockets(t *testing.T) {
	server, client, h := serverAndClient(t)
	listen(t, server, ":6443")
	for ns, prefix := range map[*nstest.NS]string{server: "2001:db8::100/64", client: "2001:db8::50/64"} {
		a, err := netlink.ParseAddr(prefix)
		must(t, err)
		a.Flags = unix.IFA_F_NODAD
		must(t, ns.Links.AddrAdd(ns.Link("eth0"), a))
	}
	for _, tt := range []struct{ name, listen, address, other string }{
		{"dual stack", ":6443", "192.168.35.100:6443", "192.168.35.11:6443"}, // as kube-apiserver does
		{"IPv4 wildcard", "0.0.0.0:6444", "192.168.35.100:6444", "192.168.35.11:6444"},
		{"on the address", "192.168.35.100:6445", "192.168.35.100:6445", "[2001:db8::100]:6443"},
		{"IPv6", "[::]:6446", "[2001:db8::100]:6446", "192.168.35.100:6446"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.listen != ":6443" {
				listen(t, server, tt.listen)
			}
			gone, local, other := connect(t, client, tt.address), connect(t, server, tt.address), connect(t, client, tt.other)
			// The node's own client has the address at both ends, and the end
			// that is found first resets the other one.
			if n, err := h.DestroySockets(netip.MustParseAddrPort(tt.address).Addr()); n < 2 || n > 3 || err != nil {
				t.Errorf("DestroySockets = %d, %v, want 2 or 3", n, err)
			}
			ended(t, gone, unix.ECONNRESET)
			ended(t, local, unix.ECONNRESET, unix.ECONNABORTED)
			must(t, alive(other))
			must(t, alive(connect(t, client, tt.address))) // the listener is still there
		})
	}
}

func TestDestroyedSocketIsGone(t *testing.T) {
	server, client, h := serverAndClient(t)
	listen(t, server, ":6443")
	c := connect(t, client, "192.168.35.100:6443")
	sockets, err := h.diag.list(unix.AF_INET6, vip)
	must(t, err)
	if len(sockets) != 1 {
		t.Fatalf("%d sockets, want 1", len(sockets))
	}
	for _, want := range []bool{true, false} { // the second time it is gone
		if done, err := h.diag.destroy(sockets[0]); done != want || err != nil {
			t.Errorf("destroy = %t, %v, want %t", done, err, want)
		}
	}
	ended(t, c, unix.ECONNRESET)
}

// TestRetireWhatRanOut: connections outlive an address that went by itself.
func TestRetireWhatRanOut(t *testing.T) {
	server, client, h := serverAndClient(t)
	listen(t, server, ":6443")
	connect(t, client, "192.168.35.100:6443")
	must(t, h.Remove(vip))
	for _, want := range []int{1, 0} {
		if r, err := h.Retire(vip); r != (Retired{Connections: want}) || err != nil {
			t.Errorf("Retire = %+v, %v, want %d connections", r, err, want)
		}
	}
}

func TestDestroySocketsUnsupported(t *testing.T) {
	_, h := node(t)
	h.diag.close()
	h.diag = nil
	if _, err := h.DestroySockets(vip); !errors.Is(err, ErrDestroyUnsupported) {
		t.Errorf("error = %v, want ErrDestroyUnsupported", err)
	}
}

// BenchmarkDestroySockets ends 500 connections, and finds them among 2000 more.
func BenchmarkDestroySockets(b *testing.B) {
	server, client, h := serverAndClient(b)
	listen(b, server, ":6443")
	for range 2000 {
		connect(b, client, "192.168.35.11:6443")
	}
	for b.Loop() {
		b.StopTimer()
		for range 500 {
			connect(b, client, "192.168.35.100:6443")
		}
		b.StartTimer()
		if n, err := h.DestroySockets(vip); n != 500 || err != nil {
			b.Fatalf("DestroySockets = %d, %v", n, err)
		}
	}
}

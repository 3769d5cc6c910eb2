package netif

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/internal/nstest"
)

// listen opens a TCP port in a namespace, and echoes each byte.
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

// dial connects from a namespace, and makes sure that the server has accepted.
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

// serverAndClient are connected nodes; the server has the VIP.
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
		{"dual stack", ":6443", "192.168.35.100:6443", "192.168.35.11:6443"}, // kube-apiserver listens like this
		{"IPv4 wildcard", "0.0.0.0:6444", "192.168.35.100:6444", "192.168.35.11:6444"},
		{"on the address", "192.168.35.100:6445", "192.168.35.100:6445", "[2001:db8::100]:6443"},
		{"IPv6", "[::]:6446", "[2001:db8::100]:6446", "192.168.35.100:6446"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.listen != ":6443" {
				listen(t, server, tt.listen)
			}
			gone, local, other := connect(t, client, tt.address), connect(t, server, tt.address), connect(t, client, tt.other)
			// The node's own client has the address at both ends, and the end that is destroyed
			// first resets the other one.
			if n, err := h.DestroySockets(netip.MustParseAddrPort(tt.address).Addr()); n < 2 || n > 3 || err != nil {
				t.Errorf("DestroySockets = %d, %v, want 2 or 3", n, err)
			}
			ended(t, gone, unix.ECONNRESET)
			ended(t, local, unix.ECONNRESET, unix.ECONNABORTED)
			must(t, alive(other))
			must(t, alive(connect(t, client, tt.address))) // the listener still exists
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
	for _, want := range []int{1, 0} { // the second time, the connection is gone
		if done, err := h.diag.destroy(sockets); done != want || err != nil {
			t.Errorf("destroy = %d, %v, want %d", done, err, want)
		}
	}
	ended(t, c, unix.ECONNRESET)
}

// TestManyConnections: all of them end, each peer gets a reset, and connections that ended by
// themselves meanwhile do not count.
func TestManyConnections(t *testing.T) {
	const n = 10*inFlight + 7
	server, client, h := serverAndClient(t)
	backlog(t, server, 6443, n+1)
	other := connections(t, client, "192.168.35.11:6443", 1)[0]
	all := connections(t, client, "192.168.35.100:6443", n)
	sockets, err := h.diag.list(unix.AF_INET6, vip)
	must(t, err)
	if len(sockets) != n {
		t.Fatalf("%d sockets, want %d", len(sockets), n)
	}
	var some []socket
	for i := 0; i < n; i += 3 {
		some = append(some, sockets[i])
	}
	if done, err := h.diag.destroy(some); done != len(some) || err != nil {
		t.Errorf("destroy = %d, %v, want %d", done, err, len(some))
	}
	if done, err := h.diag.destroy(sockets); done != n-len(some) || err != nil {
		t.Errorf("destroy = %d, %v, want %d", done, err, n-len(some))
	}
	for _, c := range all {
		ended(t, c, unix.ECONNRESET)
	}
	if left, err := h.diag.list(unix.AF_INET6, vip); len(left) != 0 || err != nil {
		t.Errorf("%d are left, %v", len(left), err)
	}
	must(t, other.SetReadDeadline(time.Now().Add(time.Millisecond)))
	if _, err := other.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a connection of another address: %v", err)
	}
}

// connections opens connections to a port that sends nothing.
func connections(t testing.TB, from *nstest.NS, address string, n int) (all []net.Conn) {
	t.Helper()
	for range n {
		var c net.Conn
		must(t, from.Do(func() (err error) { c, err = net.Dial("tcp", address); return err }))
		t.Cleanup(func() { _ = c.Close() })
		all = append(all, c)
	}
	return all
}

// TestRetireExpiredAddress: connections outlive an address whose lifetime ended.
func TestRetireExpiredAddress(t *testing.T) {
	server, client, h := serverAndClient(t)
	listen(t, server, ":6443")
	connect(t, client, "192.168.35.100:6443")
	must(t, remove(t, h))
	for _, want := range []int{1, 0} {
		if r, err := retire(h, index(t, h)); r != (Retired{Connections: want}) || err != nil {
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

// backlog opens a TCP port in a namespace, whose connections no process accepts: a process may have
// only a limited number of files, and these connections are otherwise like any other.
func backlog(t testing.TB, ns *nstest.NS, port, n int) {
	t.Helper()
	var fd int
	must(t, ns.Do(func() (err error) {
		if err := os.WriteFile("/proc/sys/net/core/somaxconn", []byte(strconv.Itoa(n)), 0o600); err != nil {
			return err
		}
		if fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		if err := unix.Bind(fd, &unix.SockaddrInet6{Port: port}); err != nil {
			return err
		}
		return unix.Listen(fd, n)
	}))
}

// cpu returns the processor time of this process, including the clients.
func cpu(b *testing.B) time.Duration {
	var u unix.Rusage
	must(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkDestroySockets ends connections among 1000 others. On a busy machine, the processor time
// says more than the wall clock.
func BenchmarkDestroySockets(b *testing.B) {
	for _, n := range []int{300, 3000, 10000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			server, client, h := serverAndClient(b)
			round, spent := 0, time.Duration(0)
			for b.Loop() {
				b.StopTimer()
				round++
				backlog(b, server, 6443+round, n+1000) // a full queue accepts no more connections
				port := strconv.Itoa(6443 + round)
				all := append(connections(b, client, "192.168.35.11:"+port, 1000), connections(b, client, "192.168.35.100:"+port, n)...)
				began := cpu(b)
				b.StartTimer()
				if ended, err := h.DestroySockets(vip); ended != n || err != nil {
					b.Fatalf("DestroySockets = %d, %v", ended, err)
				}
				b.StopTimer()
				spent += cpu(b) - began
				for _, c := range all {
					_ = c.Close()
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(spent.Microseconds())/1000/float64(round), "cpu-ms/op")
		})
	}
}

package kubeapi

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// deaf is a TCP port that accepts one connection and drops the SYNs of all others: no process
// accepts connections, and the queue is full (net/ipv4/tcp_input.c, tcp_conn_request).
func deaf(t *testing.T) *net.TCPAddr {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	must(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(t, unix.Listen(fd, 0))
	name, err := unix.Getsockname(fd)
	must(t, err)
	addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*unix.SockaddrInet4).Port}
	c, err := net.DialTCP("tcp", nil, addr)
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return addr
}

// sockets counts the sockets of this namespace to a local port in a state of
// include/net/tcp_states.h.
func sockets(t *testing.T, port int, state string) (n int) {
	t.Helper()
	f, err := os.Open("/proc/net/tcp")
	must(t, err)
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if w := strings.Fields(lines.Text()); len(w) > 3 && w[2] == fmt.Sprintf("0100007F:%04X", port) && w[3] == state {
			n++
		}
	}
	return n
}

const (
	established = "01"
	synSent     = "02"
)

// asks makes failing probes of a server concurrently, and returns the maximum number of sockets in
// that time.
func asks(t *testing.T, c *Client, addr *net.TCPAddr, n int, count func() int) (most int) {
	t.Helper()
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for range n {
		all.Go(func() {
			if _, _, _, err := c.Readyz(ctx, addr.String()); err == nil {
				t.Error("an answer")
			}
		})
	}
	for began := time.Now(); time.Since(began) < time.Second || most == 0 && time.Since(began) < time.Minute; time.Sleep(10 * time.Millisecond) {
		most = max(most, count())
	}
	cancel()
	all.Wait()
	return most
}

// await waits until there are at most so many sockets of that state.
func await(t *testing.T, addr *net.TCPAddr, state string, want int, within time.Duration) {
	t.Helper()
	for began := time.Now(); sockets(t, addr.Port, state) > want; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > within {
			t.Fatalf("%d sockets are left after %s, want %d", sockets(t, addr.Port, state), within, want)
		}
	}
}

// TestPeerThatDropsSYNs: the connections of finished probes are cancelled, and the sockets to one
// peer are bounded.
func TestPeerThatDropsSYNs(t *testing.T) {
	t.Parallel()
	s, addr := newServer(t), deaf(t)
	var open gauge
	c := New(Options{Server: addr.String(), Kubeconfigs: []string{s.write(t, filepath.Join(t.TempDir(), "admin.conf"), "me", nil)}, Dial: open.dial})
	for range 3 {
		if most := asks(t, c, addr, 50, open.top); most == 0 || most > maxUnanswered {
			t.Errorf("%d sockets to a peer that drops SYNs, want some, and %d at most", most, maxUnanswered)
		}
		await(t, addr, synSent, 0, answerTimeout/2)
	}
}

// TestSilentPeer: the peer accepts connections, as the kernel does for a stopped process, and sends
// nothing.
func TestSilentPeer(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	addr := l.Addr().(*net.TCPAddr)
	var open gauge
	c := New(Options{Server: addr.String(), Kubeconfigs: []string{s.write(t, filepath.Join(t.TempDir(), "admin.conf"), "me", nil)}, Dial: open.dial})
	for range 2 {
		if most := asks(t, c, addr, 50, open.top); most == 0 || most > maxUnanswered {
			t.Errorf("%d sockets to a peer that says nothing, want some, and %d at most", most, maxUnanswered)
		}
	}
	await(t, addr, established, 0, 2*answerTimeout)
}

// gauge counts sockets, and knows the maximum. The kernel's own list is not exact while sockets are
// closed and opened: it may contain both.
type gauge struct {
	mu        sync.Mutex
	now, most int
}

func (g *gauge) dial(ctx context.Context, network, address string) (net.Conn, error) {
	g.add(1)
	ended := sync.OnceFunc(func() { g.add(-1) })
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		ended()
		return nil, err
	}
	return &counted{Conn: conn, ended: ended}, nil
}

func (g *gauge) add(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now += n
	g.most = max(g.most, g.now)
}

func (g *gauge) top() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.most
}

// counted is a connection that reports its end.
type counted struct {
	net.Conn
	ended func()
}

func (c *counted) Close() error {
	err := c.Conn.Close()
	c.ended()
	return err
}

// TestIdleConnectionStays: the timeout of the first byte does not apply to later ones.
func TestIdleConnectionStays(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c, _ := newClient(s.addr(), s.write(t, filepath.Join(t.TempDir(), "admin.conf"), "me", nil))
	s.set(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
	})
	for range 2 {
		if status, _, _, err := c.Readyz(t.Context(), s.addr()); status != http.StatusOK || err != nil {
			t.Fatalf("Readyz = %d, %v", status, err)
		}
		time.Sleep(answerTimeout + 500*time.Millisecond)
	}
	diff(t, "connections", 1, s.connections.Load())
	if n := len(c.slots[s.addr()]); n > 0 {
		t.Errorf("%d slots are taken by connections that work", n)
	}
}

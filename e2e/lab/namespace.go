package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"

	"github.com/mdlayher/socket"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// netnsDir is the folder of named namespaces, so that `ip netns exec` works with the lab's.
const netnsDir = "/run/netns"

// A Namespace is a named network namespace.
type Namespace struct {
	Name   string
	handle netns.NsHandle
}

// newNamespace creates a named namespace with its loopback up.
func newNamespace(name string) (*Namespace, error) {
	if err := shareNetnsDir(); err != nil {
		return nil, err
	}
	var handle netns.NsHandle
	err := onThread(func() (err error) {
		handle, err = netns.NewNamed(name)
		return err
	})
	if errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("make network namespace %s: %w (the lab needs root, or CAP_SYS_ADMIN and CAP_NET_ADMIN)", name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("make network namespace %s: %w", name, err)
	}
	return &Namespace{Name: name, handle: handle}, nil
}

// shareNetnsDir makes the folder a shared mount before it contains anything. The first `ip netns
// add` on a machine does that as well (iproute2, ip/ipnetns.c), with everything that is in the
// folder by then: the lab's namespaces would be mounted twice, and one of the mounts could not be
// removed.
func shareNetnsDir() error {
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return fmt.Errorf("make %s: %w", netnsDir, err)
	}
	err := unix.Mount("", netnsDir, "none", unix.MS_SHARED|unix.MS_REC, "")
	if errors.Is(err, unix.EINVAL) { // not a mount yet
		if err = unix.Mount(netnsDir, netnsDir, "none", unix.MS_BIND|unix.MS_REC, ""); err == nil {
			err = unix.Mount("", netnsDir, "none", unix.MS_SHARED|unix.MS_REC, "")
		}
	}
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("share %s: %w (the lab needs root, or CAP_SYS_ADMIN and CAP_NET_ADMIN)", netnsDir, err)
	}
	if err != nil {
		return fmt.Errorf("share %s: %w", netnsDir, err)
	}
	return nil
}

// Handle returns the open namespace, for libraries that need one. The Namespace owns it: do not
// close it.
func (n *Namespace) Handle() netns.NsHandle { return n.handle }

// Do runs fn with the calling thread in the namespace. What fn opens or starts stays in the
// namespace; goroutines that fn starts are not in it.
func (n *Namespace) Do(fn func() error) error {
	return onThread(func() error {
		if err := netns.Set(n.handle); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", n.Name, err)
		}
		return fn()
	})
}

// onThread runs fn on a locked thread, which afterwards returns to its network namespace.
func onThread(fn func() error) (err error) {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open own network namespace: %w", err)
	}
	defer home.Close()
	defer func() {
		if back := netns.Set(home); back != nil {
			// Stay locked: the runtime ends a thread whose goroutine ends while locked, so no other
			// goroutine runs in the wrong namespace.
			err = errors.Join(err, fmt.Errorf("leave network namespace: %w", back))
			return
		}
		runtime.UnlockOSThread()
	}()
	return fn()
}

// Dial opens a TCP connection from inside the namespace. No thread waits in the namespace while the
// connection is set up, so a hundred hanging attempts need no threads.
func (n *Namespace) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil || !to.Addr().Is4() || (network != "tcp" && network != "tcp4") {
		return nil, fmt.Errorf("dial %s %s: want tcp and an IPv4 address with a port", network, address)
	}
	s, err := socket.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_TCP, "tcp", &socket.Config{NetNS: int(n.handle)})
	if err != nil {
		return nil, fmt.Errorf("dial %s from %s: %w", address, n.Name, err)
	}
	err = s.SetsockoptInt(unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err == nil {
		_, err = s.Connect(ctx, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("dial %s from %s: %w", address, n.Name, err)
	}
	return &conn{Conn: s, remote: net.TCPAddrFromAddrPort(to)}, nil
}

// conn makes a net.Conn of a socket.
type conn struct {
	*socket.Conn
	remote *net.TCPAddr
}

func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) LocalAddr() net.Addr {
	if sa, err := c.Getsockname(); err == nil {
		if in, ok := sa.(*unix.SockaddrInet4); ok {
			return &net.TCPAddr{IP: in.Addr[:], Port: in.Port}
		}
	}
	return &net.TCPAddr{}
}

// close closes the handle. The namespace exists until it is deleted and its last process ends.
func (n *Namespace) close() error { return n.handle.Close() }

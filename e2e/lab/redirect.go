package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const (
	// redirectTable is the nftables table on a node with a proxy.
	redirectTable = "lab-proxy"
	// redirectPort is the port of the proxy on the node's loopback.
	redirectPort = 7443
	// vipdGroup is the group of vipd only, so that the kernel can distinguish vipd's sockets from
	// those of the API server, which sends requests to itself over loopback, and from all others.
	// vipd still runs as root.
	vipdGroup = 7443
)

// redirect redirects new connections of vipd to any API server's port to the proxy; nft prints the
// rule as
//
//	meta skgid 7443 tcp dport 6443 redirect to :7443
func (n *Node) redirect() error {
	return n.changeRedirect("redirect vipd", func(nft *nftables.Conn, table *nftables.Table) {
		nft.AddRule(&nftables.Rule{Table: table, Chain: outputChain(nft, table), Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeySKGID, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(vipdGroup)},
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(Port)},
			&expr.Immediate{Register: 1, Data: binaryutil.BigEndian.PutUint16(redirectPort)},
			&expr.Redir{RegisterProtoMin: 1},
		}})
	})
}

// redirectNoMore lets new connections bypass the proxy, by a rule that comes first. The other rule
// stays: without any, the kernel tracks no connections, and the redirected ones would hang and
// never notice their end.
func (n *Node) redirectNoMore() error {
	return n.changeRedirect("end redirecting vipd", func(nft *nftables.Conn, table *nftables.Table) {
		accept := []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}
		nft.InsertRule(&nftables.Rule{Table: table, Chain: outputChain(nft, table), Exprs: accept})
	})
}

// forgetRedirect removes the table.
func (n *Node) forgetRedirect() error {
	return n.changeRedirect("remove redirection", func(nft *nftables.Conn, table *nftables.Table) { nft.DelTable(table) })
}

func outputChain(nft *nftables.Conn, table *nftables.Table) *nftables.Chain {
	return nft.AddChain(&nftables.Chain{
		Name: "output", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest,
	})
}

// changeRedirect edits the table, and creates it if it is missing: a test may have flushed the
// node's whole ruleset.
func (n *Node) changeRedirect(what string, edit func(*nftables.Conn, *nftables.Table)) error {
	nft, err := nftables.New(nftables.WithNetNSFd(int(n.NS.handle)))
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	edit(nft, nft.AddTable(&nftables.Table{Name: redirectTable, Family: nftables.TableFamilyIPv4}))
	if err := nft.Flush(); err != nil {
		return fmt.Errorf("%s on %s: %w", what, n.Name, err)
	}
	return nil
}

// originalDestination returns the original destination of a redirected connection.
func originalDestination(c net.Conn) (netip.AddrPort, error) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("find destination: not TCP but %T", c)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("find destination: %w", err)
	}
	// The result is a sockaddr_in: family, port and address, 16 bytes in all, which is the size of
	// this type.
	var mreq *unix.IPv6Mreq
	var failure error
	err = raw.Control(func(fd uintptr) {
		mreq, failure = unix.GetsockoptIPv6Mreq(int(fd), unix.SOL_IP, unix.SO_ORIGINAL_DST)
	})
	if err := errors.Join(err, failure); err != nil {
		return netip.AddrPort{}, fmt.Errorf("find destination: %w", err)
	}
	b := mreq.Multiaddr
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:4])), nil
}

// hangUp ends a process' TCP connections to a port as a server would: they were opened before the
// redirection and would otherwise be kept alive. It duplicates the process' descriptors to shut
// them down.
func hangUp(pid int, port int) error {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("hang up for process %d: %w", pid, err)
	}
	defer unix.Close(pidfd)
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return err
	}
	for _, link := range links {
		if to, err := os.Readlink(link); err != nil || len(to) < 7 || to[:7] != "socket:" {
			continue // closed meanwhile, or not a socket
		}
		number, err := strconv.Atoi(filepath.Base(link))
		if err != nil {
			return err
		}
		fd, err := unix.PidfdGetfd(pidfd, number, 0)
		if errors.Is(err, syscall.EBADF) {
			continue // closed meanwhile
		}
		if err != nil {
			return fmt.Errorf("hang up for process %d: %w", pid, err)
		}
		if peerPort(fd) == port {
			_ = unix.Shutdown(fd, unix.SHUT_RDWR) // fails if it has ended already
		}
		unix.Close(fd)
	}
	return nil
}

// peerPort returns the peer's port of a TCP socket, 0 if it is none.
func peerPort(fd int) int {
	if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_STREAM {
		return 0
	}
	peer, err := unix.Getpeername(fd)
	if err != nil {
		return 0
	}
	switch sa := peer.(type) {
	case *unix.SockaddrInet4:
		return sa.Port
	case *unix.SockaddrInet6:
		return sa.Port
	}
	return 0
}

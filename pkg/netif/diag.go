package netif

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// diag is a netlink socket to list and end sockets, sock_diag(7). vishvananda/netlink supports IPv4
// only. A diag may be nil.
type diag map[int]*nl.SocketHandle

// openDiag opens a diag in the namespace; nil means that the kernel does not support it.
func openDiag(ns netns.NsHandle) (diag, error) {
	s, err := nl.GetNetlinkSocketAt(ns, netns.None(), unix.NETLINK_INET_DIAG)
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open socket diagnosis: %w", err)
	}
	d := diag{unix.NETLINK_INET_DIAG: {Socket: s}}
	timeout := unix.NsecToTimeval(socketTimeout.Nanoseconds())
	if err := errors.Join(s.SetSendTimeout(&timeout), s.SetReceiveTimeout(&timeout)); err != nil {
		d.close()
		return nil, fmt.Errorf("set netlink timeout: %w", err)
	}
	return d, nil
}

func (d diag) close() {
	for _, s := range d {
		_ = s.Close()
	}
}

// socket is a socket as the kernel lists it (include/uapi/linux/inet_diag.h):
//
//	inet_diag_msg     family, state, timer, retrans (a byte each), inet_diag_sockid, ...
//	inet_diag_sockid  ports (2+2 bytes), local and remote address (16+16), interface (4), cookie (8)
type socket []byte

func (s socket) family() uint8 { return s[0] }

func (s socket) local() netip.Addr {
	if s.family() == unix.AF_INET {
		return netip.AddrFrom4([4]byte(s[8:]))
	}
	return netip.AddrFrom16([16]byte(s[8:])).Unmap()
}

// id identifies this socket: the kernel never uses a cookie again.
func (s socket) id() []byte { return s[4:socketSize] }

const socketSize = 4 + 48

// connected is the set of states of a connection: all states of include/net/tcp_states.h but
// TIME_WAIT (6), CLOSE (7), LISTEN (10, which serves the address again when the address comes
// back), and BOUND_INACTIVE (13, about to listen).
const connected = 1<<1 | 1<<2 | 1<<3 | 1<<4 | 1<<5 | 1<<8 | 1<<9 | 1<<11 | 1<<12

// list lists the connections of a family whose local address is addr.
func (d diag) list(family uint8, addr netip.Addr) (out []socket, err error) {
	found, err := d.dump(family, onlyLocal(addr))
	if errors.Is(err, unix.ENOENT) { // no module tcp_diag (net/ipv4/inet_diag.c, inet_diag_lock_handler)
		err = ErrDestroyUnsupported
	}
	for _, s := range found {
		if len(s) >= socketSize && socket(s).local() == addr {
			out = append(out, s)
		}
	}
	return out, err
}

// inFlight is how many requests go to the kernel with one call. Each request may be answered with
// an error of about 800 bytes in kernel memory; the socket's buffer, 208 kB by default
// (net.core.rmem_default), has room for all of them.
const inFlight = 64

// destroy ends connections, and returns how many; connections that were gone do not count.
func (d diag) destroy(sockets []socket) (n int, err error) {
	if d == nil {
		return 0, ErrDestroyUnsupported
	}
	s := d[unix.NETLINK_INET_DIAG]
	s.Socket.Lock()
	defer s.Socket.Unlock()
	for some := range slices.Chunk(sockets, inFlight) {
		done, err := destroySome(s, some)
		n += done
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// destroySome sends its requests with one call; the kernel processes them in order within that call
// (net/netlink/af_netlink.c, netlink_rcv_skb). The kernel answers failed requests, and the last
// request, which alone asks for an answer.
func destroySome(s *nl.SocketHandle, sockets []socket) (n int, err error) {
	var batch []byte
	last := atomic.AddUint32(&s.Seq, uint32(len(sockets)))
	first := last - uint32(len(sockets)) + 1
	for i, one := range sockets {
		m := nl.NewNetlinkRequest(nl.SOCK_DESTROY, 0)
		if i == len(sockets)-1 {
			m.Flags |= unix.NLM_F_ACK
		}
		m.Seq = first + uint32(i)
		m.AddRawData(request(one.family(), one.id()))
		batch = append(batch, m.Serialize()...)
	}
	if err := unix.Sendto(s.Socket.GetFd(), batch, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, err
	}
	n = len(sockets)
	for {
		answers, _, err := s.Socket.Receive()
		if err != nil {
			return 0, err
		}
		for _, m := range answers {
			if m.Header.Seq-first >= uint32(len(sockets)) || m.Header.Type != unix.NLMSG_ERROR || len(m.Data) < 4 {
				continue // of an earlier request that timed out
			}
			switch errno := unix.Errno(-int32(binary.NativeEndian.Uint32(m.Data))); errno {
			case 0:
			case unix.ENOENT, unix.ESTALE:
				n--
			case unix.EOPNOTSUPP:
				return 0, ErrDestroyUnsupported
			default:
				return 0, errno
			}
			if m.Header.Seq == last {
				return n, nil
			}
		}
	}
}

// dump lists the TCP sockets of a family that pass a filter.
func (d diag) dump(family uint8, filter []byte) ([][]byte, error) {
	if d == nil {
		return nil, ErrDestroyUnsupported
	}
	m := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
	m.Sockets, m.RetryInterrupted = d, true
	m.AddRawData(append(request(family, nil), filter...))
	return m.Execute(unix.NETLINK_INET_DIAG, 0)
}

// request returns a request about all TCP sockets, or about the one with this id:
//
//	inet_diag_req_v2  family, protocol, ext, pad (a byte each), states (4), inet_diag_sockid
func request(family uint8, id []byte) []byte {
	req := make([]byte, 4+socketSize)
	req[0], req[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(req[4:], connected)
	copy(req[8:], id)
	return req
}

// onlyLocal returns a filter by local address. The kernel runs the filter, because a node has
// thousands of other connections. An IPv4 address matches its AF_INET6 form, too
// (net/ipv4/inet_diag.c, inet_diag_bc_run). The filter is one instruction,
//
//	inet_diag_bc_op     code, jump if true (a byte each), jump if false (2)
//	inet_diag_hostcond  family, prefix length (a byte each), 2 bytes of padding, port (4, -1 for any), address
//
// in which a jump to the end accepts, and a jump beyond the end refuses.
func onlyLocal(addr netip.Addr) []byte {
	const (
		requestBytecode = 1 // INET_DIAG_REQ_BYTECODE
		sourceCondition = 7 // INET_DIAG_BC_S_COND
	)
	family := uint8(unix.AF_INET)
	if addr.Is6() {
		family = unix.AF_INET6
	}
	size := 12 + addr.BitLen()/8
	b := append([]byte(nil), sourceCondition, uint8(size))
	b = binary.NativeEndian.AppendUint16(b, uint16(size+4))
	b = append(b, family, uint8(addr.BitLen()), 0, 0)
	b = binary.NativeEndian.AppendUint32(b, 1<<32-1)
	b = append(b, addr.AsSlice()...)
	return nl.NewRtAttr(requestBytecode, b).Serialize()
}

package netif

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// diag is a netlink socket on which the kernel tells of sockets and ends them,
// sock_diag(7). vishvananda/netlink does so for IPv4 only. It may be nil.
type diag map[int]*nl.SocketHandle

// openDiag opens one in the namespace; nil is of a kernel that has none.
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

// socket is what the kernel tells of one (include/uapi/linux/inet_diag.h):
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

// id names this very socket: its cookie is given to no other.
func (s socket) id() []byte { return s[4:socketSize] }

const socketSize = 4 + 48

// connected is the states in which somebody may wait for the other end: all of
// include/net/tcp_states.h but TIME_WAIT (6), CLOSE (7), LISTEN (10, it serves
// the address when it comes back), and BOUND_INACTIVE (13, about to listen).
const connected = 1<<1 | 1<<2 | 1<<3 | 1<<4 | 1<<5 | 1<<8 | 1<<9 | 1<<11 | 1<<12

// list lists the connections of a family whose local address is addr.
func (d diag) list(family uint8, addr netip.Addr) (out []socket, err error) {
	found, err := d.ask(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP, family, nil, onlyLocal(addr))
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

// destroy ends a connection; false means that it was gone.
func (d diag) destroy(s socket) (bool, error) {
	_, err := d.ask(nl.SOCK_DESTROY, unix.NLM_F_ACK, s.family(), s.id(), nil)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ESTALE):
		return false, nil
	case errors.Is(err, unix.EOPNOTSUPP):
		return false, ErrDestroyUnsupported
	}
	return err == nil, err
}

// ask sends one request about TCP sockets, in the form of
//
//	inet_diag_req_v2  family, protocol, ext, pad (a byte each), states (4), inet_diag_sockid
//
// with a filter, if any, behind it.
func (d diag) ask(kind, flags int, family uint8, id, filter []byte) ([][]byte, error) {
	if d == nil {
		return nil, ErrDestroyUnsupported
	}
	req := make([]byte, 4+socketSize)
	req[0], req[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(req[4:], connected)
	copy(req[8:], id)
	m := nl.NewNetlinkRequest(kind, flags)
	m.Sockets, m.RetryInterrupted = d, true
	m.AddRawData(append(req, filter...))
	return m.Execute(unix.NETLINK_INET_DIAG, 0)
}

// onlyLocal is a filter by local address, which the kernel runs: a node has
// thousands of other connections. An IPv4 address matches its AF_INET6 form, too
// (net/ipv4/inet_diag.c, inet_diag_bc_run). It is one instruction,
//
//	inet_diag_bc_op     code, jump if true (a byte each), jump if false (2)
//	inet_diag_hostcond  family, prefix length (a byte each), 2 bytes of padding, port (4, -1 for any), address
//
// in which a jump to the end accepts, and one beyond it refuses.
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

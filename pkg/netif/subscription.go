package netif

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/pkg/boottime"
)

const (
	// receiveBuffer holds the messages of a node on which hundreds of pods start at once, in bytes.
	// The kernel reports an overflow with ENOBUFS.
	receiveBuffer = 1 << 20
	// catchUpWithin is how long a reader may take to read the messages that the kernel has sent
	// already, before the kernel is asked for everything instead.
	catchUpWithin = 50 * time.Millisecond
)

var (
	errNoMessage = errors.New("no message")
	errStall     = errors.New("the kernel did not finish a dump in time")
)

// subscription is a socket for the kernel's notifications and for dumps. Both use one socket, so
// that they come in order. The subscriptions of vishvananda/netlink use one socket each, and cannot
// tell how far they have read.
type subscription struct {
	h      *Handle
	socket *nl.NetlinkSocket
	port   uint32 // in messages that answer this socket
	log    *zap.Logger

	// The reader's goroutine owns these fields.
	now     Snapshot
	whole   bool     // now is complete
	reading *reading // a dump in progress
	acked   []uint32 // acknowledged requests of catchUp, without an answer yet

	mu      sync.Mutex
	waiting map[uint32]chan<- *Snapshot // by sequence number
	ended   bool
}

// reading is a dump of everything, the interfaces before the addresses.
type reading struct {
	sequence    uint32
	kind        uint16 // RTM_NEWLINK, then RTM_NEWADDR
	interrupted bool
	stalls      boottime.Instant
	built       Snapshot
	// notified is what was notified since the dump began. A notification is newer than the entry of
	// the dump, or the same: the kernel may have read an entry for the dump, deleted it, sent the
	// notification, and only then sent its part of the dump.
	notified map[any]bool
}

// identity is the identity of an address to the kernel.
type identity struct {
	index        int
	prefix, peer netip.Prefix
}

func (h *Handle) subscribe() (*subscription, error) {
	ns := netns.None()
	if h.ns != nil {
		ns = *h.ns
	}
	// Not nl.Subscribe: what is sent on its sockets goes to all listeners of the groups.
	socket, err := nl.GetNetlinkSocketAt(ns, netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	s := &subscription{h: h, socket: socket, log: zap.NewNop(), waiting: make(map[uint32]chan<- *Snapshot)}
	if err := s.join(); err != nil {
		_ = socket.Close()
		return nil, fmt.Errorf("subscribe to changes of interfaces and addresses: %w", err)
	}
	return s, nil
}

func (s *subscription) join() (err error) {
	if s.port, err = s.socket.GetPid(); err != nil {
		return err
	}
	timeout := unix.NsecToTimeval(socketTimeout.Nanoseconds())
	if err := s.socket.SetSendTimeout(&timeout); err != nil {
		return err
	}
	// Try to exceed the system's limit, else use the limit: a smaller buffer overflows earlier.
	if s.socket.SetReceiveBufferSize(receiveBuffer, true) != nil {
		if err := s.socket.SetReceiveBufferSize(receiveBuffer, false); err != nil {
			return err
		}
	}
	for _, group := range []int{unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR} {
		if err := unix.SetsockoptInt(s.socket.GetFd(), unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group); err != nil {
			return err
		}
	}
	return nil
}

// end closes the socket, which ends a receive, and releases all waiting callers.
func (s *subscription) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.ended = true
	_ = s.socket.Close()
	for _, w := range s.waiting {
		close(w)
	}
	s.waiting = nil
}

// catchUp returns a Snapshot with all that the kernel has notified by now, nil after a timeout.
// catchUp makes the kernel acknowledge an empty message: that takes no lock in the kernel
// (net/netlink/af_netlink.c, netlink_rcv_skb), and the answer comes after all earlier
// notifications.
func (s *subscription) catchUp() *Snapshot {
	m := nl.NewNetlinkRequest(unix.NLMSG_NOOP, unix.NLM_F_ACK)
	answer := make(chan *Snapshot, 1)
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return nil
	}
	s.waiting[m.Seq] = answer
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.waiting, m.Seq)
	}()
	if err := s.socket.Send(m); err != nil {
		return nil
	}
	timer := time.NewTimer(catchUpWithin)
	defer timer.Stop()
	select {
	case now := <-answer:
		return now
	case <-timer.C:
		return nil
	}
}

// answer releases the callers whose requests were acknowledged.
func (s *subscription) answer(now *Snapshot) {
	if len(s.acked) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sequence := range s.acked {
		if w, ok := s.waiting[sequence]; ok {
			w <- now
			delete(s.waiting, sequence)
		}
	}
	s.acked = nil
}

// dump begins to read everything. The present Snapshot stays until the dump is complete.
func (s *subscription) dump() error {
	s.reading = &reading{notified: make(map[any]bool)}
	return s.read(unix.RTM_GETLINK)
}

// read requests a dump of interfaces or of addresses.
func (s *subscription) read(get int) error {
	m := nl.NewNetlinkRequest(get, unix.NLM_F_DUMP)
	if get == unix.RTM_GETLINK {
		m.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	} else {
		m.AddData(nl.NewIfAddrmsg(unix.AF_UNSPEC))
	}
	s.reading.sequence, s.reading.kind = m.Seq, uint16(get-2) // RTM_NEW is two below RTM_GET
	s.reading.stalls = boottime.Now().Add(socketTimeout)
	if err := s.socket.Send(m); err != nil {
		return fmt.Errorf("ask for interfaces and addresses: %w", err)
	}
	return nil
}

// receive handles the next messages of the kernel. The error is errNoMessage if there is none until
// then.
func (s *subscription) receive(until boottime.Instant) (Change, error) {
	wait := until.Sub(boottime.Now())
	if s.reading != nil && wait <= 0 { // notifications of changes may go on
		return Change{}, errStall
	}
	wait = max(time.Millisecond, wait)
	timeout := unix.NsecToTimeval(wait.Nanoseconds())
	if err := s.socket.SetReceiveTimeout(&timeout); err != nil {
		return Change{}, err
	}
	messages, from, err := s.socket.Receive()
	switch {
	case errors.Is(err, unix.EAGAIN) && s.reading != nil:
		return Change{}, errStall
	case errors.Is(err, unix.EAGAIN):
		return Change{}, errNoMessage
	case err != nil:
		return Change{}, fmt.Errorf("receive from the kernel: %w", err)
	case from.Pid != nl.PidKernel:
		return Change{}, nil // any process may send to the groups
	}
	var c Change
	for _, m := range messages {
		if err := s.take(m, &c); err != nil {
			return c, err
		}
	}
	return c, nil
}

// take handles one message: a part of a dump, an answer to catchUp, or a notification.
func (s *subscription) take(m syscall.NetlinkMessage, c *Change) error {
	mine := m.Header.Pid == s.port
	dumped := mine && s.reading != nil && m.Header.Seq == s.reading.sequence
	if dumped {
		s.reading.interrupted = s.reading.interrupted || m.Header.Flags&unix.NLM_F_DUMP_INTR != 0
		s.reading.stalls = boottime.Now().Add(socketTimeout)
	}
	switch m.Header.Type {
	case unix.NLMSG_ERROR, unix.NLMSG_DONE:
		return s.answered(m, dumped, c)
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		s.link(m, dumped, c)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		s.address(m, dumped, c)
	}
	return nil
}

// answered handles the end of a dump, or an acknowledgement.
func (s *subscription) answered(m syscall.NetlinkMessage, dumped bool, c *Change) error {
	if !dumped {
		s.acked = append(s.acked, m.Header.Seq)
		return nil
	}
	if len(m.Data) >= 4 {
		if errno := -int32(binary.NativeEndian.Uint32(m.Data)); errno > 0 {
			return fmt.Errorf("list interfaces and addresses: %w", unix.Errno(errno))
		}
	}
	r := s.reading
	switch {
	case r.interrupted: // after a change meanwhile, the dump may lack other entries
		return s.dump()
	case r.kind == unix.RTM_NEWLINK:
		return s.read(unix.RTM_GETADDR)
	}
	s.now, s.whole, s.reading, c.All = r.built, true, nil, true
	return nil
}

func (s *subscription) link(m syscall.NetlinkMessage, dumped bool, c *Change) {
	if len(m.Data) < unix.SizeofIfInfomsg || m.Data[0] != unix.AF_UNSPEC {
		return // a bridge reports its ports in that form, too, with a family of its own
	}
	if wireless(m.Data) {
		return
	}
	parsed, err := netlink.LinkDeserialize((*unix.NlMsghdr)(&m.Header), m.Data)
	if err != nil {
		s.log.Warn("interface notification not read", zap.Error(err))
		return
	}
	l, gone := toLink(parsed), m.Header.Type == unix.RTM_DELLINK
	if dumped {
		if !s.reading.notified[l.Index] {
			s.reading.built.setLink(l)
		}
		return
	}
	if s.reading != nil {
		s.reading.notified[l.Index] = true
		s.reading.built.update(l, gone)
	}
	if was, ok := s.now.LinkAt(l.Index); gone && !ok || !gone && ok && was.equal(l) {
		return
	}
	s.now.update(l, gone)
	c.Links = append(c.Links, l)
}

// wireless tells whether a message is an event of a Wi-Fi interface, which does not contain the
// state of the interface (net/wireless/wext-core.c, wireless_send_event).
func wireless(b []byte) bool {
	attrs, err := nl.ParseRouteAttr(b[unix.SizeofIfInfomsg:])
	return err == nil && slices.ContainsFunc(attrs, func(a syscall.NetlinkRouteAttr) bool { return a.Attr.Type == unix.IFLA_WIRELESS })
}

func (s *Snapshot) update(l Link, gone bool) {
	if gone {
		s.dropLink(l.Index)
	} else {
		s.setLink(l)
	}
}

func (l Link) equal(b Link) bool {
	return l.Name == b.Name && slices.Equal(l.AltNames, b.AltNames) && l.Index == b.Index && slices.Equal(l.MAC, b.MAC) && l.Up == b.Up && l.Local == b.Local &&
		l.Kind == b.Kind && l.Master == b.Master
}

func (s *subscription) address(m syscall.NetlinkMessage, dumped bool, c *Change) {
	a, ok := s.h.parseAddress(m.Data)
	if !ok {
		return // of another family
	}
	gone, id := m.Header.Type == unix.RTM_DELADDR, identity{a.Index, a.Prefix, a.Peer}
	if dumped {
		if !s.reading.notified[id] {
			s.reading.built.setAddress(a)
		}
		return
	}
	if s.reading != nil {
		s.reading.notified[id] = true
		s.reading.built.updateAddress(a, gone)
	}
	known := slices.ContainsFunc(s.now.At(a.Prefix.Addr()), func(b Address) bool {
		return b.same(a) && (gone || b.Ours == a.Ours && b.Global == a.Global && b.Secondary == a.Secondary)
	})
	s.now.updateAddress(a, gone)
	if known == gone { // neither a refresh, nor the removal of an unknown address
		c.Addresses = append(c.Addresses, a)
	}
}

func (s *Snapshot) updateAddress(a Address, gone bool) {
	if gone {
		s.dropAddress(a)
	} else {
		s.setAddress(a)
	}
}

// parseAddress reads an ifaddrmsg and its attributes (rtnetlink(7)).
func (h *Handle) parseAddress(b []byte) (Address, bool) {
	if len(b) < unix.SizeofIfAddrmsg || b[0] != unix.AF_INET && b[0] != unix.AF_INET6 {
		return Address{}, false
	}
	head := nl.DeserializeIfAddrmsg(b)
	attrs, err := nl.ParseRouteAttr(b[unix.SizeofIfAddrmsg:])
	if err != nil {
		return Address{}, false
	}
	parsed := netlink.Addr{LinkIndex: int(head.Index), Scope: int(head.Scope), Flags: int(head.Flags)}
	var local, address []byte
	for _, a := range attrs {
		switch v := a.Value; {
		case a.Attr.Type == unix.IFA_LOCAL:
			local = v
		case a.Attr.Type == unix.IFA_ADDRESS:
			address = v
		case a.Attr.Type == unix.IFA_FLAGS && len(v) >= 4:
			parsed.Flags = int(binary.NativeEndian.Uint32(v))
		case a.Attr.Type == unix.IFA_CACHEINFO && len(v) >= 8: // preferred and valid lifetime, in seconds
			parsed.ValidLft = int(binary.NativeEndian.Uint32(v[4:]))
		case a.Attr.Type == netlink.IFA_PROTO && len(v) >= 1:
			parsed.Protocol = int(v[0])
		}
	}
	// On a point-to-point link, IFA_ADDRESS is the other end's address, and has the prefix.
	prefix := &net.IPNet{IP: address, Mask: net.CIDRMask(int(head.Prefixlen), 8*len(address))}
	parsed.IPNet = prefix
	if local != nil && !slices.Equal(local, address) {
		parsed.IPNet, parsed.Peer = &net.IPNet{IP: local, Mask: net.CIDRMask(8*len(local), 8*len(local))}, prefix
	}
	out, err := h.toAddress(parsed)
	return out, err == nil
}

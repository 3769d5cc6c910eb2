// Package netif puts addresses on an interface and takes them away, and tells
// when links or addresses change. It is the only importer of
// vishvananda/netlink. It does not decide who may hold an address.
package netif

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Protocol marks vipd's addresses (IFA_PROTO, Linux 5.18; `ip -d address` shows
// "proto 0x76"). Values above 3 are free for programs: rtnetlink(7),
// include/uapi/linux/if_addr.h. Older kernels drop it silently; there, vipd's
// are told by their shape, see marked.
const Protocol = 'v'

// socketTimeout bounds one question to the kernel, for a kernel that is busy
// with its configuration lock.
const socketTimeout = 2 * time.Second

var (
	// ErrLinkNotFound means that there is no such interface, now.
	ErrLinkNotFound = errors.New("interface not found")
	// ErrNotEthernet means an interface on which ARP for Ethernet says nothing.
	ErrNotEthernet = errors.New("not an Ethernet interface")
	// ErrStillPresent means that an address was removed and is there all the same.
	ErrStillPresent = errors.New("address is still present")
)

// Link is an interface at one moment. Its index and MAC may be others at the
// next; look it up again.
type Link struct {
	Name  string
	Index int
	MAC   net.HardwareAddr
	// Up is true when the interface is set up and has carrier.
	Up bool
}

// Address is an IPv4 or IPv6 address on an interface.
type Address struct {
	Prefix netip.Prefix
	Index  int
	// Valid is the lifetime left, in whole seconds; 1<<32-1 of them means for ever.
	Valid time.Duration
	// Ours is true if it bears vipd's mark.
	Ours bool
	// Global is false for addresses of the loopback or link scope.
	Global bool
}

// Handle asks the kernel of one network namespace. It is safe for use by
// several goroutines.
type Handle struct {
	h    *netlink.Handle
	diag diag
	ns   *netns.NsHandle
	// keepsMark: this kernel keeps an address's protocol.
	keepsMark bool
}

// Open opens a handle in the namespace with the file descriptor, 0 for the
// caller's.
func Open(nsFd int) (*Handle, error) {
	opts := netlink.HandleOptions{RetryInterrupted: true, DisableVFInfoCollection: true}
	if nsFd != 0 {
		ns := netns.NsHandle(nsFd)
		opts.NetNS = &ns
	} else {
		none := netns.None()
		opts.NetNS = &none
	}
	h, err := netlink.NewHandleWithOptions(opts, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	if err := h.SetSocketTimeout(socketTimeout); err != nil {
		h.Close()
		return nil, fmt.Errorf("set netlink timeout: %w", err)
	}
	keepsMark, err := kernelKeepsMark()
	if err != nil {
		h.Close()
		return nil, err
	}
	diag, err := openDiag(*opts.NetNS)
	if err != nil {
		h.Close()
		return nil, err
	}
	out := &Handle{h: h, diag: diag, keepsMark: keepsMark}
	if nsFd != 0 {
		out.ns = opts.NetNS
	}
	return out, nil
}

// Close closes the handle's sockets.
func (h *Handle) Close() {
	h.h.Close()
	h.diag.close()
}

// Links lists the interfaces.
func (h *Handle) Links() ([]Link, error) {
	list, err := h.h.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	out := make([]Link, 0, len(list))
	for _, l := range list {
		out = append(out, toLink(l))
	}
	return out, nil
}

// Link looks an interface up by its name or an alternative name. The error is
// ErrLinkNotFound if there is none, ErrNotEthernet if ARP means nothing on it.
func (h *Handle) Link(name string) (Link, error) {
	l, err := h.h.LinkByName(name)
	if _, none := errors.AsType[netlink.LinkNotFoundError](err); none {
		return Link{}, fmt.Errorf("interface %q: %w", name, ErrLinkNotFound)
	}
	if err != nil {
		return Link{}, fmt.Errorf("look up interface %q: %w", name, err)
	}
	if len(l.Attrs().HardwareAddr) != 6 {
		return Link{}, fmt.Errorf("interface %q: %w", name, ErrNotEthernet)
	}
	return toLink(l), nil
}

func toLink(l netlink.Link) Link {
	a := l.Attrs()
	return Link{
		Name:  a.Name,
		Index: a.Index,
		MAC:   a.HardwareAddr,
		// Unknown is what drivers without carrier detection report (RFC 2863).
		Up: a.Flags&net.FlagUp != 0 && (a.OperState == netlink.OperUp || a.OperState == netlink.OperUnknown),
	}
}

// Addresses lists the addresses of all interfaces.
func (h *Handle) Addresses() ([]Address, error) {
	list, err := h.h.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	out := make([]Address, 0, len(list))
	for _, a := range list {
		ip, ok := netip.AddrFromSlice(a.IP)
		if !ok {
			return nil, fmt.Errorf("list addresses: unreadable address %v on interface %d", a.IPNet, a.LinkIndex)
		}
		bits, _ := a.Mask.Size()
		out = append(out, Address{
			Prefix: netip.PrefixFrom(ip.Unmap(), bits),
			Index:  a.LinkIndex,
			Valid:  time.Duration(uint32(a.ValidLft)) * time.Second,
			Ours:   h.marked(a),
			Global: a.Scope == unix.RT_SCOPE_UNIVERSE,
		})
	}
	return out, nil
}

// marked tells vipd's addresses from others. Where the kernel drops the mark, it
// is the shape: a single address without a prefix route and with an end. Other
// VIP managers give theirs no end, and DHCP hands out subnets.
func (h *Handle) marked(a netlink.Addr) bool {
	if h.keepsMark {
		return a.Protocol == Protocol
	}
	ones, bits := a.Mask.Size()
	return ones == bits && a.Flags&unix.IFA_F_NOPREFIXROUTE != 0 && a.Flags&unix.IFA_F_PERMANENT == 0
}

// kernelKeepsMark tells whether this kernel is 5.18 or newer.
func kernelKeepsMark() (bool, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return false, fmt.Errorf("read kernel release: %w", err)
	}
	release := unix.ByteSliceToString(u.Release[:])
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return false, fmt.Errorf("read kernel release %q: %w", release, err)
	}
	return major > 5 || major == 5 && minor >= 18, nil
}

// Put makes sure that addr is on the interface with that index, as a /32 with a
// lifetime in which the kernel takes it away by itself, and that the mark says
// whose it is. valid is rounded up to whole seconds, at least 1 s: the fence,
// not the lifetime, ends to the millisecond.
func (h *Handle) Put(index int, addr netip.Addr, valid time.Duration) error {
	present, err := h.find(addr)
	if err != nil {
		return err
	}
	for _, a := range present {
		if a.Index == index && a.Prefix.IsSingleIP() && a.Ours && !h.unrouted(index, addr) {
			continue
		}
		// A replacement keeps mark, prefix and routes as they were; and the
		// same address on another interface answers there.
		if err := h.remove(a); err != nil {
			return err
		}
	}
	if err := h.h.AddrReplace(nil, toNetlink(index, addr, valid)); err != nil {
		return fmt.Errorf("put %s on interface %d: %w", addr, index, err)
	}
	return nil
}

// toNetlink describes an address of vipd's to the kernel. No prefix route: the
// address must never be chosen as a source for its subnet.
func toNetlink(index int, addr netip.Addr, valid time.Duration) *netlink.Addr {
	seconds := max(1, int((valid+time.Second-1)/time.Second))
	bits := addr.BitLen()
	return &netlink.Addr{
		IPNet:       &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(bits, bits)},
		LinkIndex:   index,
		Flags:       unix.IFA_F_NOPREFIXROUTE,
		ValidLft:    seconds,
		PreferedLft: seconds,
		Protocol:    Protocol,
	}
}

// Remove takes addr away from every interface and confirms that it is gone. An
// address that is not there is gone; one that could not be looked for is not.
func (h *Handle) Remove(addr netip.Addr) error {
	present, err := h.find(addr)
	if err != nil {
		return err
	}
	if len(present) == 0 {
		return nil
	}
	for _, a := range present {
		if err := h.remove(a); err != nil {
			return err
		}
	}
	if present, err = h.find(addr); err != nil {
		return err
	}
	if len(present) > 0 {
		return fmt.Errorf("remove %s: %w", addr, ErrStillPresent)
	}
	return nil
}

func (h *Handle) remove(a Address) error {
	ip, bits := a.Prefix.Addr(), a.Prefix.Bits()
	err := h.h.AddrDel(nil, &netlink.Addr{
		IPNet:     &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(bits, ip.BitLen())},
		LinkIndex: a.Index,
	})
	// Gone in the meantime: its lifetime ended, or the interface went.
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove %s from interface %d: %w", a.Prefix, a.Index, err)
	}
	return nil
}

// find lists where addr is.
func (h *Handle) find(addr netip.Addr) ([]Address, error) {
	all, err := h.Addresses()
	if err != nil {
		return nil, err
	}
	var out []Address
	for _, a := range all {
		if a.Prefix.Addr() == addr {
			out = append(out, a)
		}
	}
	return out, nil
}

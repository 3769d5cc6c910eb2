// Package netif adds addresses to interfaces and removes them, and reports changes of links and
// addresses. Package netif is the only importer of vishvananda/netlink. It does not decide which
// node may hold an address.
package netif

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Protocol marks vipd's addresses (IFA_PROTO, Linux 5.18; `ip -d address` shows "proto 0x76").
// Values above 3 are free for programs: rtnetlink(7), include/uapi/linux/if_addr.h. Older kernels
// ignore the attribute; there, vipd recognizes its addresses by their form, see marked.
const Protocol = 'v'

// socketTimeout bounds one request to the kernel, whose configuration lock may be busy.
const socketTimeout = 2 * time.Second

var (
	// ErrLinkNotFound means that there is no such interface at present.
	ErrLinkNotFound = errors.New("interface not found")
	// ErrNotEthernet means that the interface does not use ARP for Ethernet.
	ErrNotEthernet = errors.New("not an Ethernet interface")
	// ErrStillPresent means that a removed address is still there.
	ErrStillPresent = errors.New("address is still present")
	// ErrNoInterface means that no interface was given for the address.
	ErrNoInterface = errors.New("there is no interface to put the address on")
	// ErrNodesOwn means that the address is the node's own in the same form as vipd's, so that Put
	// would change it.
	ErrNodesOwn = errors.New("the address is the node's own")
)

// Link is an interface at one instant. Index and MAC may change; look the interface up again.
type Link struct {
	Name string
	// AltNames are alternative names (ip-link(8), altname).
	AltNames []string
	Index    int
	MAC      net.HardwareAddr
	// MTU is the size of the largest packet, in bytes.
	MTU int
	// Up is true when the interface is set up and has carrier.
	Up bool
	// Local means that the interface leads nowhere: the loopback, or a dummy, like kube-proxy's
	// kube-ipvs0.
	Local bool
	// Kind is the kernel's kind of interface, such as "bridge"; "device" for hardware.
	Kind string
	// Master is the index of the interface that this one was made a port of, 0 for none, see
	// Snapshot.PortOf.
	Master int
}

// Address is an IPv4 or IPv6 address on an interface.
type Address struct {
	Prefix netip.Prefix
	// Peer is the address of the other end on a point-to-point link, else not valid.
	Peer  netip.Prefix
	Index int
	// Valid is the lifetime left, in whole seconds; 1<<32-1 seconds means for ever.
	Valid time.Duration
	// Ours means that the address has vipd's mark.
	Ours bool
	// Global is false for addresses of loopback or link scope.
	Global bool
	// Secondary means that an earlier IPv4 address of the interface is in the same subnet, with the
	// same prefix length. Unless promote_secondaries is set, the kernel removes a secondary address
	// together with that earlier one.
	Secondary bool
}

// Handle is a connection to the kernel of one network namespace. Handle is safe for concurrent use.
type Handle struct {
	h *netlink.Handle
	// strict makes the kernel filter its lists. Not all other requests of vishvananda/netlink
	// comply with strict checks.
	strict *netlink.Handle
	diag   diag
	ns     *netns.NsHandle
	// dumps counts the requests for all interfaces and addresses.
	dumps atomic.Int64
	// keepsMark: this kernel stores the protocol of an address.
	keepsMark bool
}

// Open opens a Handle in the namespace with this file descriptor; 0 means the caller's namespace.
func Open(nsFd int) (*Handle, error) {
	opts := netlink.HandleOptions{RetryInterrupted: true, DisableVFInfoCollection: true}
	if nsFd != 0 {
		ns := netns.NsHandle(nsFd)
		opts.NetNS = &ns
	} else {
		none := netns.None()
		opts.NetNS = &none
	}
	out := &Handle{}
	if nsFd != 0 {
		out.ns = opts.NetNS
	}
	if err := out.open(opts); err != nil {
		out.Close()
		return nil, err
	}
	return out, nil
}

func (h *Handle) open(opts netlink.HandleOptions) (err error) {
	for _, to := range []**netlink.Handle{&h.h, &h.strict} {
		if *to, err = netlink.NewHandleWithOptions(opts, unix.NETLINK_ROUTE); err != nil {
			return fmt.Errorf("open netlink socket: %w", err)
		}
		if err := (*to).SetSocketTimeout(socketTimeout); err != nil {
			return fmt.Errorf("set netlink timeout: %w", err)
		}
	}
	if err := h.strict.SetStrictCheck(true); err != nil && !errors.Is(err, unix.ENOPROTOOPT) {
		return fmt.Errorf("set netlink to strict checks: %w", err)
	}
	if h.keepsMark, err = kernelKeepsMark(); err != nil {
		return err
	}
	h.diag, err = openDiag(*opts.NetNS)
	return err
}

// Close closes the handle's sockets.
func (h *Handle) Close() {
	for _, one := range []*netlink.Handle{h.h, h.strict} {
		if one != nil {
			one.Close()
		}
	}
	h.diag.close()
}

// Dumps returns how often the kernel was asked for all interfaces and addresses, which costs more
// the more there are.
func (h *Handle) Dumps() int64 { return h.dumps.Load() }

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

// Link looks an interface up by its name or an alternative name. The error is ErrLinkNotFound if
// there is none, ErrNotEthernet if the interface does not use ARP for Ethernet.
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
		Name:     a.Name,
		AltNames: a.AltNames,
		Index:    a.Index,
		MAC:      a.HardwareAddr,
		MTU:      a.MTU,
		// Unknown is what drivers without carrier detection report (RFC 2863).
		Up:     a.Flags&net.FlagUp != 0 && (a.OperState == netlink.OperUp || a.OperState == netlink.OperUnknown),
		Local:  local(a.RawFlags),
		Kind:   l.Type(),
		Master: a.MasterIndex,
	}
}

// local tells whether an interface leads nowhere: a dummy has no ARP and no other end
// (drivers/net/dummy.c); a tunnel has another end.
func local(flags uint32) bool {
	return flags&unix.IFF_LOOPBACK != 0 || flags&(unix.IFF_NOARP|unix.IFF_POINTOPOINT) == unix.IFF_NOARP
}

// Addresses lists the addresses of all interfaces.
func (h *Handle) Addresses() ([]Address, error) {
	list, err := h.h.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	return h.toAddresses(list)
}

func (h *Handle) toAddresses(list []netlink.Addr) ([]Address, error) {
	out := make([]Address, 0, len(list))
	for _, a := range list {
		address, err := h.toAddress(a)
		if err != nil {
			return nil, fmt.Errorf("list addresses: %w", err)
		}
		out = append(out, address)
	}
	return out, nil
}

func (h *Handle) toAddress(a netlink.Addr) (Address, error) {
	if a.IPNet == nil {
		return Address{}, fmt.Errorf("no address in the notification for interface %d", a.LinkIndex)
	}
	ip, ok := netip.AddrFromSlice(a.IP)
	if !ok {
		return Address{}, fmt.Errorf("unreadable address %v on interface %d", a.IPNet, a.LinkIndex)
	}
	bits, _ := a.Mask.Size()
	return Address{
		Prefix: netip.PrefixFrom(ip.Unmap(), bits),
		Peer:   toPrefix(a.Peer),
		Index:  a.LinkIndex,
		Valid:  time.Duration(uint32(a.ValidLft)) * time.Second,
		Ours:   h.marked(a),
		Global: a.Scope == unix.RT_SCOPE_UNIVERSE,
		// For IPv6, the same flag means temporary.
		Secondary: ip.Unmap().Is4() && a.Flags&unix.IFA_F_SECONDARY != 0,
	}, nil
}

// toPrefix returns an invalid prefix for nil.
func toPrefix(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	ip, _ := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(ip.Unmap(), bits)
}

// marked tells vipd's addresses from others. Where the kernel does not store the mark, the form
// decides: a single address, or a copy of moveBehind, without a prefix route and with a lifetime.
// Other VIP managers set no lifetime, and DHCP hands out subnets.
func (h *Handle) marked(a netlink.Addr) bool {
	if h.keepsMark {
		return a.Protocol == Protocol
	}
	ones, bits := a.Mask.Size()
	return bits-ones <= 1 && a.Flags&unix.IFA_F_NOPREFIXROUTE != 0 && a.Flags&unix.IFA_F_PERMANENT == 0
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

// Put makes sure that an address is in its place, as a /32 (IPv6: /128) with vipd's mark and a
// lifetime, after which the kernel removes it. valid is rounded up to whole seconds, at least 1 s:
// the fence, not the lifetime, ends with an accuracy of milliseconds. An address that is before the
// node's own moves behind them, see Ahead. Put changes only vipd's addresses. Errors:
// ErrNoInterface, ErrNodesOwn.
func (h *Handle) Put(s *Snapshot, at Place, valid time.Duration) error {
	index, addr := at.Link, at.Addr
	if index <= 0 {
		return fmt.Errorf("put %s: %w", addr, ErrNoInterface)
	}
	present := s.Presence(at)
	if a, ok := present.foreign(index); ok && a.Prefix.IsSingleIP() {
		return fmt.Errorf("put %s: %s: %w", addr, s.Where(a), ErrNodesOwn)
	}
	for _, a := range present.Ours {
		if a.Index == index && a.Prefix.IsSingleIP() && a.Ours && !h.unrouted(index, addr) {
			continue
		}
		// A replacement would keep mark, prefix and routes; and the same address on another
		// interface would answer there.
		if err := h.remove(a); err != nil {
			return err
		}
	}
	if err := h.h.AddrReplace(nil, toNetlink(index, addr, valid)); err != nil {
		return fmt.Errorf("put %s on interface %d: %w", addr, index, err)
	}
	ahead, err := h.Ahead(s, at)
	if err != nil || !ahead {
		return err
	}
	return h.moveBehind(index, addr, valid)
}

// toNetlink describes an address of vipd's to the kernel. Without a prefix route, the kernel never
// chooses the address as the source for its subnet. IPv6 also chooses a source by the address alone,
// and takes one that is deprecated last (RFC 6724 section 5, rule 3). The kernel does not look for
// duplicates: it would delete an address with a lifetime that another holder still answers for
// (net/ipv6/addrconf.c, addrconf_dad_stop).
func toNetlink(index int, addr netip.Addr, valid time.Duration) *netlink.Addr {
	seconds := max(1, int((valid+time.Second-1)/time.Second))
	bits := addr.BitLen()
	a := &netlink.Addr{
		IPNet:       &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(bits, bits)},
		LinkIndex:   index,
		Flags:       unix.IFA_F_NOPREFIXROUTE,
		ValidLft:    seconds,
		PreferedLft: seconds,
		Protocol:    Protocol,
	}
	if addr.Is6() {
		a.Flags |= unix.IFA_F_NODAD
		a.PreferedLft = 0
	}
	return a
}

// Remove removes vipd's copies of an address from all interfaces, and confirms that they are gone.
// An address that does not exist is gone; after a failed request, it is not known to be gone.
func (h *Handle) Remove(s *Snapshot, at Place) error {
	ours := s.Presence(at).Ours
	for _, a := range ours {
		if err := h.remove(a); err != nil {
			return err
		}
	}
	indices := []int{at.Link}
	for _, a := range ours {
		indices = append(indices, a.Index)
	}
	slices.Sort(indices)
	for _, index := range slices.Compact(indices) {
		left, err := h.on(index, at.Addr)
		if err != nil {
			return err
		}
		for _, a := range left {
			if a.Prefix.Addr() == at.Addr && (a.Ours || slices.ContainsFunc(ours, a.same)) {
				return fmt.Errorf("remove %s: %w", s.Where(a), ErrStillPresent)
			}
		}
	}
	return nil
}

// on asks the kernel, not a snapshot, for the addresses of addr's family on an interface. A kernel
// before 4.20 lists those of all interfaces, and the netlink library drops the others
// (NETLINK_GET_STRICT_CHK, netlink(7)).
func (h *Handle) on(index int, addr netip.Addr) ([]Address, error) {
	if index <= 0 {
		return nil, nil
	}
	family := netlink.FAMILY_V4
	if addr.Is6() {
		family = netlink.FAMILY_V6
	}
	list, err := h.strict.AddrList(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}, family)
	if errors.Is(err, unix.ENODEV) {
		return nil, nil // the interface is gone with its addresses
	}
	if err != nil {
		return nil, fmt.Errorf("list addresses of interface %d: %w", index, err)
	}
	return h.toAddresses(list)
}

func (h *Handle) remove(a Address) error {
	ip, bits := a.Prefix.Addr(), a.Prefix.Bits()
	err := h.h.AddrDel(nil, &netlink.Addr{
		IPNet:     &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(bits, ip.BitLen())},
		LinkIndex: a.Index, // the kernel reported the address, so never 0
	})
	// Gone meanwhile: the lifetime ended, or the interface is gone.
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove %s from interface %d: %w", a.Prefix, a.Index, err)
	}
	return nil
}

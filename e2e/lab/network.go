package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The lab's network. Each lab has its own namespaces, so all labs can use the same addresses.
var (
	// defaultVIP is the default of Options.VIP.
	defaultVIP = netip.MustParseAddr("192.168.35.100")
	// Subnet is the network that all nodes and clients share.
	Subnet = netip.MustParsePrefix("192.168.35.0/24")
)

// Port is the port of the API servers, on every node and so on the VIP.
const Port = 6443

// askers is the first last byte of the sender addresses of ARP probes, which no host has: see
// AskerIP.
const askers = 57

// AskerIP returns the sender address of a prober. An answer to it changes no entry for a real host.
func AskerIP(number int) netip.Addr {
	ip := Subnet.Addr().As4()
	ip[3] = byte(askers + number)
	return netip.AddrFrom4(ip)
}

// Interface is the name of the one network interface in each node and client.
const Interface = "eth0"

const bridgeName = "br0"

// A Host is a machine on the lab's network: a network namespace with an eth0 that is connected to
// the switch.
type Host struct {
	Name string
	IP   netip.Addr
	MAC  net.HardwareAddr // the original one: see ChangeMAC
	NS   *Namespace
	Dir  string // logs and, of a node, certificates and data

	sw *netSwitch // of the other end of the cable

	routed bool // see AddDefaultRoute

	macMu sync.Mutex
	macs  []net.HardwareAddr // all MACs so far, the current one last
}

// hostMAC derives a locally administered MAC from the address, so that captures are easy to read.
func hostMAC(ip netip.Addr) net.HardwareAddr {
	b := ip.As4()
	return net.HardwareAddr{0x02, 0, 0, b[2], 0, b[3]}
}

// newSwitch creates the namespace with the bridge. STP is off, which is the default, so that a port
// forwards at once; multicast snooping is off, because nothing here uses groups.
func newSwitch(name string) (*netSwitch, error) {
	ns, err := newNamespace(name)
	if err != nil {
		return nil, err
	}
	err = withHandle(ns, func(h *netlink.Handle) error {
		bridge := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs(), MulticastSnooping: new(false)}
		bridge.Name = bridgeName
		// With a fixed MAC: otherwise the bridge takes the lowest one of its ports, and changes it
		// when a port is added.
		bridge.HardwareAddr = net.HardwareAddr{0x02, 0, 0, 0xff, 0, 1}
		if err := h.LinkAdd(bridge); err != nil {
			return fmt.Errorf("add bridge: %w", err)
		}
		return h.LinkSetUp(bridge)
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set up %s: %w", name, err), ns.close())
	}
	return &netSwitch{ns: ns, cuts: make(map[cut]bool)}, nil
}

// newHost creates a namespace and a cable from its eth0 to the switch's port with the host's name.
func newHost(sw *netSwitch, namespace, name, dir string, ip netip.Addr) (*Host, error) {
	ns, err := newNamespace(namespace)
	if err != nil {
		return nil, err
	}
	mac := hostMAC(ip)
	h := &Host{Name: name, IP: ip, MAC: mac, NS: ns, Dir: dir, sw: sw, macs: []net.HardwareAddr{mac}}
	if err := errors.Join(withHandle(sw.ns, h.plugIn), withHandle(ns, h.configure)); err != nil {
		return nil, errors.Join(fmt.Errorf("set up %s: %w", namespace, err), ns.close())
	}
	return h, nil
}

func (h *Host) plugIn(sw *netlink.Handle) error {
	bridge, err := sw.LinkByName(bridgeName)
	if err != nil {
		return fmt.Errorf("find %s: %w", bridgeName, err)
	}
	port := netlink.NewVeth(netlink.NewLinkAttrs())
	port.Name = h.Name
	port.MasterIndex = bridge.Attrs().Index
	port.PeerName = Interface
	port.PeerHardwareAddr = h.PresentMAC()
	port.PeerNamespace = netlink.NsFd(h.NS.handle)
	if err := sw.LinkAdd(port); err != nil {
		return fmt.Errorf("add veth: %w", err)
	}
	return sw.LinkSetUp(port)
}

func (h *Host) configure(in *netlink.Handle) error {
	for _, name := range []string{"lo", Interface} {
		link, err := in.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find %s: %w", name, err)
		}
		if err := in.LinkSetUp(link); err != nil {
			return fmt.Errorf("set %s up: %w", name, err)
		}
		if name == Interface {
			if err := in.AddrAdd(link, &netlink.Addr{IPNet: h.ipNet()}); err != nil {
				return fmt.Errorf("add %s: %w", h.IP, err)
			}
		}
	}
	return nil
}

// ForwardIPv4 makes the host a router, as every Kubernetes node is for its pods: kubeadm's
// preflight requires it ("FileContent--proc-sys-net-ipv4-ip_forward"). So a node forwards what a
// client still sends to it for an address that has moved away. The file belongs to the namespace of
// the thread.
func (h *Host) ForwardIPv4() error {
	err := h.NS.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644) })
	if err != nil {
		return fmt.Errorf("let %s forward: %w", h.Name, err)
	}
	return nil
}

func (h *Host) ipNet() *net.IPNet {
	return &net.IPNet{IP: h.IP.AsSlice(), Mask: net.CIDRMask(Subnet.Bits(), 32)}
}

// LinkDown pulls the cable: the switch's end goes down, and the host loses its carrier.
func (h *Host) LinkDown() error { return setLink(h.sw.ns, h.Name, false) }

// LinkUp connects the cable again.
func (h *Host) LinkUp() error { return setLink(h.sw.ns, h.Name, true) }

// SetAdminLink runs `ip link set eth0 up` or `down` on the host.
func (h *Host) SetAdminLink(up bool) error { return setLink(h.NS, Interface, up) }

func setLink(ns *Namespace, name string, up bool) error {
	return withHandle(ns, func(h *netlink.Handle) error {
		link, err := h.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find %s in %s: %w", name, ns.Name, err)
		}
		set := h.LinkSetDown
		if up {
			set = h.LinkSetUp
		}
		if err := set(link); err != nil {
			return fmt.Errorf("set %s in %s up=%t: %w", name, ns.Name, up, err)
		}
		return nil
	})
}

// AddAddress adds addr/32 to eth0, without vipd.
func (h *Host) AddAddress(addr netip.Addr) error {
	return h.onAddress((*netlink.Handle).AddrReplace, addr)
}

// RemoveAddress removes addr/32 from eth0, without vipd.
func (h *Host) RemoveAddress(addr netip.Addr) error {
	return h.onAddress((*netlink.Handle).AddrDel, addr)
}

func (h *Host) onAddress(op func(*netlink.Handle, netlink.Link, *netlink.Addr) error, addr netip.Addr) error {
	return withHandle(h.NS, func(in *netlink.Handle) error {
		link, err := in.LinkByName(Interface)
		if err != nil {
			return fmt.Errorf("find %s in %s: %w", Interface, h.Name, err)
		}
		ip := &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(addr.BitLen(), addr.BitLen())}
		if err := op(in, link, &netlink.Addr{IPNet: ip}); err != nil {
			return fmt.Errorf("change %s on %s: %w", addr, h.Name, err)
		}
		return nil
	})
}

// Addresses returns the addresses on eth0, without link-local ones.
func (h *Host) Addresses() ([]netip.Addr, error) {
	var found []netip.Addr
	err := withHandle(h.NS, func(in *netlink.Handle) error {
		link, err := in.LinkByName(Interface)
		if err != nil {
			return err
		}
		list, err := in.AddrList(link, netlink.FAMILY_ALL)
		for _, a := range list {
			if ip, _ := netip.AddrFromSlice(a.IP); !ip.IsLinkLocalUnicast() {
				found = append(found, ip.Unmap())
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list addresses of %s: %w", h.Name, err)
	}
	return found, nil
}

// withHandle calls fn with a netlink socket in the namespace.
func withHandle(ns *Namespace, fn func(*netlink.Handle) error) error {
	h, err := netlink.NewHandleAt(ns.handle, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink in %s: %w", ns.Name, err)
	}
	defer h.Close()
	return fn(h)
}

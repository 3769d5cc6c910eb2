package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// gateway is the gateway of the default route. No host has it.
var gateway = net.IPv4(192, 168, 35, 1)

// AddDefaultRoute adds the route by which kubelet finds its address.
func (h *Host) AddDefaultRoute() error {
	h.routed = true
	return h.onLink("add default route", func(in *netlink.Handle, link netlink.Link) error {
		return in.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: gateway})
	})
}

// PlugSelf connects this process's network namespace, which has to have only a loopback interface, to
// the switch, with a default route. The end of the lab unplugs it.
func (l *Lab) PlugSelf(lastByte byte) error {
	handle, err := netns.Get()
	if err != nil {
		return fmt.Errorf("plug self: %w", err)
	}
	octets := Subnet.Addr().As4()
	octets[3] = lastByte
	ip := netip.AddrFrom4(octets)
	mac := hostMAC(ip)
	h := &Host{Name: "self", IP: ip, MAC: mac, NS: &Namespace{handle: handle}, Dir: l.Dir, sw: l.sw, macs: []net.HardwareAddr{mac}}
	l.added = append(l.added, h)
	if err := errors.Join(withHandle(l.sw.ns, h.plugIn), withHandle(h.NS, h.configure)); err != nil {
		return fmt.Errorf("plug self: %w", err)
	}
	return h.AddDefaultRoute()
}

// PowerOff cuts the power of a host for good: nothing leaves the host any more, and its processes are
// gone.
func (h *Host) PowerOff() error {
	if err := errors.Join(h.LinkDown(), h.killEverything()); err != nil {
		return fmt.Errorf("power off %s: %w", h.Name, err)
	}
	return nil
}

// killEverything kills all processes on the host, whoever started them.
func (h *Host) killEverything() error {
	if err := killInside([]string{filepath.Join(netnsDir, h.NS.Name)}); err != nil {
		return fmt.Errorf("kill everything on %s: %w", h.Name, err)
	}
	return nil
}

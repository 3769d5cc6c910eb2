package lab

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"

	"github.com/vishvananda/netlink"
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

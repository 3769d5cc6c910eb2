package lab

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"

	"github.com/vishvananda/netlink"

	"github.com/vipd-io/vipd/e2e/record"
)

// gateway is where the default route leads. Nobody is there.
var gateway = net.IPv4(192, 168, 35, 1)

// AddDefaultRoute gives the host the route by which kubelet finds its address.
func (h *Host) AddDefaultRoute() error {
	return h.onLink("add default route", func(in *netlink.Handle, link netlink.Link) error {
		return in.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: gateway})
	})
}

// KillEverything kills all processes on the host, whoever started them.
func (h *Host) KillEverything() error {
	if err := killInside([]string{filepath.Join(netnsDir, h.NS.Name)}); err != nil {
		return fmt.Errorf("kill everything on %s: %w", h.Name, err)
	}
	return nil
}

// CutPower does what PowerOff does, also to what the lab did not start.
func (n *Node) CutPower() (record.Time, error) {
	at := record.Now()
	if err := errors.Join(n.LinkDown(), n.KillEverything(), n.Forget()); err != nil {
		return at, fmt.Errorf("cut power of %s: %w", n.Name, err)
	}
	return at, nil
}

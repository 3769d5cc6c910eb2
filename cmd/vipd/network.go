package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/pkg/netif"
	"github.com/vipd-io/vipd/pkg/vip"
)

// network is this node's interfaces as the Manager's Network.
type network struct {
	handle     *netif.Handle
	addresses  []netip.Addr
	configured string // "": the interface whose subnet holds the address
	log        *zap.Logger

	// listen is told where the addresses belong, to hear who else claims them.
	listen func(index int, mac net.HardwareAddr)

	known neighbour

	chosen  string // the last one chosen, for when its subnet is gone
	unable  bool   // the kernel destroys no sockets, which was logged
	outside bool   // the address lies in no subnet of the interface, which was logged
}

// Look finds the interface and the addresses. Without a usable interface the
// error is vip.ErrNoLink and says what there is; the rest of the answer holds.
func (n *network) Look() (vip.Looked, error) {
	links, err := n.handle.Links()
	if err != nil {
		return vip.Looked{}, err
	}
	addrs, err := n.handle.Addresses()
	if err != nil {
		return vip.Looked{}, err
	}
	link, err := n.link(links, addrs)
	if n.listen != nil {
		n.listen(link.Index, link.MAC)
	}
	seen := vip.Looked{Ours: true}
	for _, vip := range n.addresses {
		ours := false
		for _, a := range addrs {
			if a.Prefix.Addr() == vip {
				seen.Marked = seen.Marked || a.Ours
				ours = ours || a.Ours && a.Index == link.Index
				seen.Stray = seen.Stray || !a.Ours || a.Index != link.Index
			}
		}
		seen.Ours = seen.Ours && ours
	}
	if err != nil {
		return seen, err
	}
	seen.Link = vip.Link{Index: link.Index, MAC: link.MAC.String(), Name: link.Name, Up: link.Up}
	if !link.Up {
		return seen, fmt.Errorf("%w: %s is down or has no carrier", vip.ErrNoLink, link.Name)
	}
	return seen, nil
}

// link is the interface to use.
func (n *network) link(links []netif.Link, addrs []netif.Address) (netif.Link, error) {
	name := n.configured
	if name == "" {
		chosen, err := netif.Choose(links, addrs, n.addresses[0])
		switch {
		case err == nil && chosen != n.chosen:
			n.log.Info("interface chosen by its subnet", zap.String("interface", chosen))
			n.chosen = chosen
		case err != nil && n.chosen == "":
			return netif.Link{}, fmt.Errorf("%w: %w; name one with --interface, or give it an address", vip.ErrNoLink, err)
		}
		name = n.chosen
	}
	link, err := n.handle.Link(name)
	if errors.Is(err, netif.ErrLinkNotFound) {
		return netif.Link{}, fmt.Errorf("%w: %w; there are: %s", vip.ErrNoLink, err, linkNames(links))
	}
	if err != nil {
		return netif.Link{}, fmt.Errorf("%w: %w", vip.ErrNoLink, err)
	}
	if err := ownAddress(links, addrs, name, n.addresses); err != nil {
		return netif.Link{}, fmt.Errorf("%w: %w", vip.ErrNoLink, err)
	}
	n.warnOutside(link, addrs)
	return link, nil
}

// warnOutside says once that the address lies in no subnet of the interface.
func (n *network) warnOutside(link netif.Link, addrs []netif.Address) {
	for _, a := range addrs {
		if a.Index == link.Index && !a.Ours && !a.Prefix.IsSingleIP() && a.Prefix.Contains(n.addresses[0]) {
			n.outside = false
			return
		}
	}
	if !n.outside {
		n.log.Warn("the VIP lies in no subnet of its interface: hosts there will not ask for it by ARP unless they have a route to it",
			zap.Stringer("vip", n.addresses[0]), zap.String("interface", link.Name))
	}
	n.outside = true
}

func linkNames(links []netif.Link) string {
	var out []string
	for _, l := range links {
		out = append(out, l.Name)
	}
	return strings.Join(out, ", ")
}

// refuseOwnAddress refuses a VIP that is an address of this node itself.
func (n *network) refuseOwnAddress() error {
	links, err := n.handle.Links()
	if err != nil {
		return err
	}
	addrs, err := n.handle.Addresses()
	if err != nil {
		return err
	}
	name := n.configured
	if name == "" {
		// Without a subnet there is no interface; then any address is the node's.
		name, _ = netif.Choose(links, addrs, n.addresses[0])
	}
	return ownAddress(links, addrs, name, n.addresses)
}

func ownAddress(links []netif.Link, addrs []netif.Address, name string, vips []netip.Addr) error {
	for _, vip := range vips {
		if a, own := netif.OwnedByNode(links, addrs, name, vip); own {
			return fmt.Errorf("%s is an address of this node itself (%s): choose one that no host has", vip, a.Prefix)
		}
	}
	return nil
}

// own tells addresses of this node, and the virtual ones, which are nobody's.
func (n *network) own(a netip.Addr) bool {
	if slices.Contains(n.addresses, a) {
		return true
	}
	addrs, err := n.handle.Addresses()
	if err != nil {
		n.log.Warn("could not look whether an address is this node's", zap.Stringer("address", a), zap.Error(err))
	}
	return slices.ContainsFunc(addrs, func(b netif.Address) bool { return b.Prefix.Addr() == a })
}

// ownHost is own for what may be a name.
func (n *network) ownHost(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && !slices.Contains(n.addresses, a) && n.own(a)
}

// ownMAC tells whether an interface of this node has the MAC: a node with two
// interfaces in one network answers ARP on both.
func (n *network) ownMAC(mac net.HardwareAddr) bool {
	links, err := n.handle.Links()
	if err != nil {
		n.log.Warn("could not look whether a MAC is this node's", zap.Stringer("mac", mac), zap.Error(err))
	}
	return slices.ContainsFunc(links, func(l netif.Link) bool { return bytes.Equal(l.MAC, mac) })
}

// Put puts all addresses up.
func (n *network) Put(l vip.Link, valid time.Duration) error {
	for _, a := range n.addresses {
		if err := n.handle.Put(l.Index, a, valid); err != nil {
			return err
		}
	}
	return nil
}

// Divert is for clients alone: what fails does not keep anything.
func (n *network) Divert() {
	for _, a := range n.addresses {
		if err := n.handle.Divert(a); err != nil {
			n.log.Warn("clients may take a second to find the next holder", zap.Error(err))
		}
	}
}

// sweep ends the connections of addresses that are not here: an earlier process was
// killed, and its address ran out. What cannot be done keeps nothing.
func (n *network) sweep() {
	addrs, err := n.handle.Addresses()
	if err != nil {
		n.log.Warn("could not look for what an earlier process left", zap.Error(err))
		return
	}
	for _, vip := range n.addresses {
		if slices.ContainsFunc(addrs, func(a netif.Address) bool { return a.Prefix.Addr() == vip }) {
			continue // to be held on to, or taken away, once the Lease is known
		}
		ended, trouble := n.handle.DestroySockets(vip)
		n.tellClients(vip, netif.Retired{Connections: ended, Trouble: trouble})
	}
}

// Remove takes all addresses away and confirms it. One that fails does not keep
// the others here. Their connections end before: what becomes of those is no
// reason to keep an address.
func (n *network) Remove() error {
	var errs []error
	for _, a := range n.addresses {
		retired, err := n.handle.Retire(a)
		errs = append(errs, err)
		n.tellClients(a, retired)
	}
	return errors.Join(errs...)
}

func (n *network) tellClients(a netip.Addr, r netif.Retired) {
	if r.Connections > 0 {
		n.log.Info("connections ended, so that clients go to the next holder now", zap.Stringer("vip", a), zap.Int("connections", r.Connections))
	}
	unable := errors.Is(r.Trouble, netif.ErrDestroyUnsupported)
	if r.Trouble != nil && (!unable || !n.unable) {
		n.log.Warn("clients with idle connections may notice late that the VIP has moved", zap.Error(r.Trouble))
	}
	n.unable = unable
}

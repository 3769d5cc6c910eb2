package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// FlushAddresses removes all IPv4 addresses of eth0, as `ip address flush dev eth0` does, and adds
// the host's own again at once, as a network manager does when it applies its configuration again.
// It does not know other addresses.
func (h *Host) FlushAddresses() error {
	return h.onLink("flush addresses", func(in *netlink.Handle, link netlink.Link) error {
		if err := removeAddresses(in, link); err != nil {
			return err
		}
		return in.AddrAdd(link, &netlink.Addr{IPNet: h.ipNet()})
	})
}

// removeAddresses removes the IPv4 addresses of a link, with exceptions. An address that disappears
// meanwhile is no error.
func removeAddresses(in *netlink.Handle, link netlink.Link, except ...netip.Addr) error {
	addrs, err := in.AddrList(link, unix.AF_INET)
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if ip, _ := netip.AddrFromSlice(a.IP.To4()); slices.Contains(except, ip) {
			continue
		}
		if err := in.AddrDel(link, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("remove %s: %w", a.IP, err)
		}
	}
	return nil
}

// RecreateLink deletes eth0 and creates it again, as the reset of a network card's driver does:
// with the same name, MAC, own address and port of the switch, but another index, and without
// further addresses.
func (h *Host) RecreateLink() error {
	err := withHandle(h.sw.ns, func(sw *netlink.Handle) error {
		port, err := sw.LinkByName(h.Name)
		if err != nil {
			return fmt.Errorf("find port: %w", err)
		}
		// Deleting one end of a veth deletes the other end.
		if err := sw.LinkDel(port); err != nil {
			return fmt.Errorf("delete veth: %w", err)
		}
		return h.plugIn(sw)
	})
	if err == nil {
		err = withHandle(h.NS, h.configure)
	}
	if err != nil {
		return fmt.Errorf("recreate %s of %s: %w", Interface, h.Name, err)
	}
	return nil
}

// ChangeMAC changes the MAC of eth0 while it is up. The kernel sends no announcement. Host.MAC
// stays the original one.
func (h *Host) ChangeMAC(mac net.HardwareAddr) error {
	h.macMu.Lock()
	defer h.macMu.Unlock()
	h.macs = append(h.macs, mac)
	err := h.onLink("change MAC", func(in *netlink.Handle, link netlink.Link) error { return in.LinkSetHardwareAddr(link, mac) })
	if err != nil {
		h.macs = h.macs[:len(h.macs)-1]
	}
	return err
}

// HadMAC tells whether the host has or had that MAC.
func (h *Host) HadMAC(mac string) bool {
	h.macMu.Lock()
	defer h.macMu.Unlock()
	return slices.ContainsFunc(h.macs, func(m net.HardwareAddr) bool { return m.String() == mac })
}

// MACs returns all MACs that the host has or had.
func (h *Host) MACs() []string {
	h.macMu.Lock()
	defer h.macMu.Unlock()
	var list []string
	for _, m := range h.macs {
		list = append(list, m.String())
	}
	return list
}

// PresentMAC returns the current MAC.
func (h *Host) PresentMAC() net.HardwareAddr {
	h.macMu.Lock()
	defer h.macMu.Unlock()
	return h.macs[len(h.macs)-1]
}

// FlushNftables runs `nft flush ruleset` on the node, as the restart of a firewall service does.
func (n *Node) FlushNftables() error {
	nft, err := nftables.New(nftables.WithNetNSFd(int(n.NS.handle)))
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	nft.FlushRuleset()
	if err := nft.Flush(); err != nil {
		return fmt.Errorf("flush nftables: %w", err)
	}
	return nil
}

// onLink calls do with the host's eth0.
func (h *Host) onLink(what string, do func(*netlink.Handle, netlink.Link) error) error {
	return withHandle(h.NS, func(in *netlink.Handle) error {
		link, err := in.LinkByName(Interface)
		if err == nil {
			err = do(in, link)
		}
		if err != nil {
			return fmt.Errorf("%s of %s: %w", what, h.Name, err)
		}
		return nil
	})
}

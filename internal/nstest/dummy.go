package nstest

import (
	"errors"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Dummy creates an interface that leads nowhere, as kube-proxy creates kube-ipvs0. On a kernel
// without dummy interfaces, it creates a bridge without ports and ARP instead.
func (ns *NS) Dummy(name string) {
	ns.t.Helper()
	attrs := netlink.LinkAttrs{Name: name}
	err := ns.Links.LinkAdd(&netlink.Dummy{LinkAttrs: attrs})
	if errors.Is(err, unix.EOPNOTSUPP) {
		ns.t.Logf("this kernel has no dummy interfaces: a bridge without ARP stands in for %s", name)
		bridge := &netlink.Bridge{LinkAttrs: attrs}
		err = errors.Join(ns.Links.LinkAdd(bridge), ns.Links.LinkSetARPOff(bridge))
	}
	if err != nil {
		ns.t.Fatalf("add dummy %s: %v", name, err)
	}
}

// Spare creates a further interface that is up, without a host at its other end.
func (ns *NS) Spare(name string) {
	ns.t.Helper()
	if err := ns.Links.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "-peer"}); err != nil {
		ns.t.Fatalf("add veth %s: %v", name, err)
	}
	ns.Up(name)
	ns.Up(name + "-peer")
}

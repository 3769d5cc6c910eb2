package doctor

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Facts is what is known of this machine, at one moment.
type Facts struct {
	// VIP and Port are what it is about; Name is the DNS name that stands for the
	// VIP, "" for none.
	VIP  netip.Addr
	Port uint16
	Name string
	// Interface is the configured one, "" if it is chosen by its subnet.
	Interface string
	Links     []Link
	Addresses []Address
	Routes    []Route
	// Holder tells whether this node holds the VIP by its vipd's own word; Asked is
	// false if no vipd could be asked.
	Holder, Asked bool
	// LeaseHolder is who holds the lease by that vipd, "" for nobody; LeaseKnown is
	// false if it could not read the lease. Self is the name of this node there.
	LeaseHolder, Self string
	LeaseKnown        bool
	// LeaseDuration is what this node's vipd is set to, 0 if that is not known.
	LeaseDuration time.Duration
	// Kubeconfigs are those that vipd uses here.
	Kubeconfigs []File
	// Management is what the management cluster has; it is not nil in that Mode.
	Management *ManagementCluster
	// CA are the certificates that the cluster's servers are signed with, in PEM; nil
	// if there is none here.
	CA []byte
}

// Link is an interface.
type Link struct {
	Name  string
	Index int
	MAC   net.HardwareAddr
	// Up: it is set up and has carrier.
	Up bool
	// Loopback is not looked at.
	Loopback bool
}

// Address is an IPv4 address of an interface.
type Address struct {
	Prefix netip.Prefix
	Index  int
	// Ours: it bears vipd's mark.
	Ours bool
}

// Route is an IPv4 route of the main table.
type Route struct {
	Destination netip.Prefix
	Gateway     netip.Addr
	Index       int
	Metric      int
}

// Questions ask others. None of them changes anything anywhere.
type Questions struct {
	// Who asks a link who has an address, and returns the MACs that answer; enough
	// ends it at that many, 0 waits for all.
	Who func(ctx context.Context, link Link, addr netip.Addr, enough int) ([]net.HardwareAddr, error)
	// Sysctl reads a file under /proc/sys.
	Sysctl func(path string) (string, error)
	// Dial connects, as a client does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Resolvers are the name servers in use, by address and port.
	Resolvers func() ([]netip.AddrPort, error)
	// Lookup asks as programs of this machine do: /etc/hosts and all.
	Lookup func(ctx context.Context, name string) ([]netip.Addr, error)
	// KubeVip is the manifest of a kube-vip among this node's static pods, "" for none.
	KubeVip func() (path string, err error)
	// StaticPods are the manifests of vipd and kube-vip on this node.
	StaticPods func() ([]StaticPod, error)
	// Kubernetes is the version of it on this node, "" and 0 if that is not known.
	Kubernetes func() (version string, minor int)
	// SELinux is the state of it.
	SELinux func() (SELinux, error)
	// Bootstrap is nil on a machine that Cluster API did not make, or that it has done with.
	Bootstrap func() (*Bootstrap, error)
	// Cluster asks an API server, once for all checks. It is nil where there are no
	// credentials to ask with. Errors are ErrUntrusted and ErrNoAnswer, or others.
	Cluster func(context.Context) (*Cluster, error)
	// Peers asks the nodes of the control plane what they see of the VIP; nil where there is
	// no vipd to ask for them.
	Peers func(context.Context) (Peers, error)
	// Overhear listens for a while who claims the VIP, oldest first; nil if there is no time.
	Overhear func(context.Context, Link) ([]Sighting, error)
	// Guest is what this virtual machine was told of its network by those who made it;
	// nil if it was told nothing, or nobody can tell.
	Guest func(context.Context) (*Guest, error)
	// Profile is NetworkManager's view of a link; nil where it does not manage it.
	Profile func(context.Context, Link) (*Managed, error)
	// Clock tells whether the kernel's clock is kept right by something, and by how
	// much it may be off.
	Clock func() (synchronised bool, off time.Duration, err error)
	// Firewall looks at this machine's own, for what comes in by a link to the VIP's port.
	Firewall func(ctx context.Context, link Link) (Firewall, error)
	// Now is the time of day.
	Now func() time.Time
}

// link is the interface with an index; it may be unknown.
func (f Facts) link(index int) (Link, bool) {
	for _, l := range f.Links {
		if l.Index == index {
			return l, true
		}
	}
	return Link{}, false
}

// name is that of an interface, for people.
func (f Facts) name(index int) string {
	if l, ok := f.link(index); ok {
		return l.Name
	}
	return fmt.Sprintf("interface %d", index)
}

// subnet is the longest prefix of an interface that has an address in it.
func (f Facts) subnet(addr netip.Addr) (Address, bool) {
	var best Address
	for _, a := range f.Addresses {
		if !a.Ours && a.Prefix.Addr() != addr && a.Prefix.Contains(addr) && (!best.Prefix.IsValid() || a.Prefix.Bits() > best.Prefix.Bits()) {
			best = a
		}
	}
	return best, best.Prefix.IsValid()
}

// routed tells whether this machine has any way to addr.
func (f Facts) routed(addr netip.Addr) bool {
	return slices.ContainsFunc(f.Routes, func(r Route) bool { return r.Destination.Contains(addr) })
}

// vipLink is the interface on which the VIP is, or would be.
func (f Facts) vipLink() (Link, bool) {
	if f.Interface != "" {
		for _, l := range f.Links {
			if l.Name == f.Interface {
				return l, true
			}
		}
		return Link{}, false
	}
	a, ok := f.subnet(f.VIP)
	if !ok {
		return Link{}, false
	}
	return f.link(a.Index)
}

// defaults are the default routes, as they are taken: the lowest metric first.
func (f Facts) defaults() []Route {
	var out []Route
	for _, r := range f.Routes {
		if r.Destination.Bits() != 0 {
			continue
		}
		i := 0
		for i < len(out) && out[i].Metric <= r.Metric {
			i++
		}
		out = append(out[:i], append([]Route{r}, out[i:]...)...)
	}
	return out
}

// interfaces lists what there is, with addresses, for people.
func (f Facts) interfaces() string {
	var out []string
	for _, l := range f.Links {
		if l.Loopback {
			continue
		}
		text := l.Name
		if a := f.addresses(l.Index); a != "" {
			text += " (" + a + ")"
		}
		out = append(out, text)
	}
	if len(out) == 0 {
		return "no interface but the loopback"
	}
	return strings.Join(out, ", ")
}

// addresses are those of an interface that are the node's own, for people.
func (f Facts) addresses(index int) string {
	var out []string
	for _, a := range f.Addresses {
		if a.Index == index && !a.Ours && a.Prefix.Addr() != f.VIP {
			out = append(out, a.Prefix.String())
		}
	}
	return strings.Join(out, ", ")
}

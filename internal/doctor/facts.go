package doctor

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Facts is a snapshot of the state of this machine.
type Facts struct {
	// VIP and Port are the endpoint that the checks examine. Name is the DNS name of the
	// VIP, or "".
	VIP  netip.Addr
	Port uint16
	Name string
	// Interface is the configured interface, or "" if vipd selects the interface by subnet.
	Interface string
	// Chosen is the interface that the vipd of this node selected by the subnet of the VIP, or "".
	// vipd keeps the interface when its address in that subnet is gone.
	Chosen    string
	Links     []Link
	Addresses []Address
	Routes    []Route
	// Holder reports whether the vipd of this node says that the node holds the VIP.
	// VipdAnswered is false if no vipd gave its status.
	Holder, VipdAnswered bool
	// LeaseHolder is the holder of the Lease as that vipd sees it, or "". LeaseKnown is false
	// if that vipd could not read the Lease. NodeName is the name of this node in the Lease.
	LeaseHolder, NodeName string
	LeaseKnown            bool
	// LeaseRenewed reports whether that holder keeps renewing the Lease, as that vipd sees it.
	LeaseRenewed bool
	// LeaseDuration is the setting of this node's vipd, or 0 if unknown.
	LeaseDuration time.Duration
	// Kubeconfigs are the kubeconfigs of this node's vipd.
	Kubeconfigs []File
	// Management is the state of the management cluster. It is not nil in mode Management.
	Management *ManagementCluster
	// CA holds the certificates of the cluster's CA in PEM, or nil if this machine has none.
	CA []byte
}

// Link is an interface.
type Link struct {
	Name  string
	Index int
	MAC   net.HardwareAddr
	// MTU is the size of the largest packet, in bytes, or 0 if unknown.
	MTU int
	// Up: the interface is administratively up and has carrier.
	Up bool
	// PortOf is the name of the bridge, bond or switch that the interface is a port of, or "".
	PortOf string
	// Loopback: the checks ignore the interface.
	Loopback bool
	// Local: no network is behind the interface, as with loopback and dummy interfaces
	// (kube-ipvs0).
	Local bool
}

// Address is an IPv4 address of an interface.
type Address struct {
	Prefix netip.Prefix
	Index  int
	// ByVipd: the address has vipd's protocol mark.
	ByVipd bool
	// Leftover: another VIP manager left the address on the interface of the VIP, see netif.Presence.
	Leftover bool
}

// Route is an IPv4 route of the main table.
type Route struct {
	Destination netip.Prefix
	Gateway     netip.Addr
	Index       int
	Metric      int
}

// Queries are the read-only queries of the checks. None of them changes state anywhere.
type Queries struct {
	// AskARP sends ARP probes for an address and returns the MACs that answer. AskARP returns
	// after enough answers; 0 waits for all.
	AskARP func(ctx context.Context, link Link, addr netip.Addr, enough int) ([]net.HardwareAddr, error)
	// Nobodys returns addresses of a subnet that are not used, by chance; ok is false if the subnet is
	// too small.
	Nobodys func(subnet netip.Prefix, used func(netip.Addr) bool) (out []netip.Addr, ok bool)
	// AskARPAs sends ARP requests of this machine, with its address sender, or probes if sender is
	// unspecified, for addresses that no machine is known to have, and returns the MACs that answer for all of these.
	AskARPAs func(ctx context.Context, link Link, sender netip.Addr, addrs []netip.Addr) ([]net.HardwareAddr, error)
	// Sysctl reads a file under /proc/sys.
	Sysctl func(path string) (string, error)
	// Dial connects as a client does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Resolvers returns the configured name servers.
	Resolvers func() ([]netip.AddrPort, error)
	// Lookup resolves a name as programs on this machine do, including /etc/hosts.
	Lookup func(ctx context.Context, name string) ([]netip.Addr, error)
	// KubeVip returns the path of a kube-vip manifest among this node's static pods, or "".
	KubeVip func() (path string, err error)
	// StaticPods returns the manifests of vipd and kube-vip on this node.
	StaticPods func() ([]StaticPod, error)
	// Kubernetes returns the version of Kubernetes on this node, or "" and 0 if unknown.
	Kubernetes func() (version string, minor int)
	// SELinux returns the SELinux state of this machine.
	SELinux func() (SELinux, error)
	// Bootstrap returns the state of a Cluster API bootstrap, or nil if there is none in
	// progress.
	Bootstrap func() (*Bootstrap, error)
	// Cluster queries an API server, once for all checks. The field is nil without
	// credentials. Errors wrap ErrUntrusted, ErrNoAnswer or others.
	Cluster func(context.Context) (*Cluster, error)
	// Peers asks the control-plane nodes for their observations of the VIP. The field is nil
	// without a vipd on this node.
	Peers func(context.Context) (Peers, error)
	// ListenForClaims records ARP claims of the VIP, oldest first. The field is nil without
	// --slow.
	ListenForClaims func(context.Context, Link) ([]Claim, error)
	// Guest returns the network configuration that CAPV delivered to this virtual machine, or
	// nil if there is none.
	Guest func(context.Context) (*Guest, error)
	// Profile returns NetworkManager's state of a link, or nil if NetworkManager does not
	// manage the link.
	Profile func(context.Context, Link) (*Managed, error)
	// ClusterNetworks returns the ranges of Services and pods that are known without an API
	// server of the cluster.
	ClusterNetworks func() ([]ClusterNetwork, error)
	// Clock reports whether the kernel's clock is synchronized, and the maximum error.
	Clock func() (synchronised bool, off time.Duration, err error)
	// Slew returns the current slew rate of the kernel's clock.
	Slew func() (boottime.PPM, error)
	// Firewall evaluates this machine's firewall for connections to the VIP's port by a link.
	Firewall func(ctx context.Context, link Link) (Firewall, error)
	// Now returns the wall-clock time.
	Now func() time.Time
}

// link returns the interface with an index.
func (f Facts) link(index int) (Link, bool) {
	for _, l := range f.Links {
		if l.Index == index {
			return l, true
		}
	}
	return Link{}, false
}

// linkName returns the name of an interface for messages.
func (f Facts) linkName(index int) string {
	if l, ok := f.link(index); ok {
		return l.Name
	}
	return fmt.Sprintf("interface %d", index)
}

// subnet returns the longest interface prefix that contains addr.
func (f Facts) subnet(addr netip.Addr) (Address, bool) {
	var best Address
	for _, a := range f.Addresses {
		if !a.ByVipd && a.Prefix.Addr() != addr && a.Prefix.Contains(addr) && (!best.Prefix.IsValid() || a.Prefix.Bits() > best.Prefix.Bits()) {
			best = a
		}
	}
	return best, best.Prefix.IsValid()
}

// hasRoute reports whether this machine has a route to addr.
func (f Facts) hasRoute(addr netip.Addr) bool {
	return slices.ContainsFunc(f.Routes, func(r Route) bool { return r.Destination.Contains(addr) })
}

// vipLink returns the interface that vipd uses for the VIP.
func (f Facts) vipLink() (Link, bool) {
	if f.Interface != "" {
		return f.linkNamed(f.Interface)
	}
	if a, ok := f.subnet(f.VIP); ok {
		return f.link(a.Index)
	}
	return f.linkNamed(f.Chosen)
}

func (f Facts) linkNamed(name string) (Link, bool) {
	for _, l := range f.Links {
		if l.Name == name {
			return l, true
		}
	}
	return Link{}, false
}

// linkTo returns the interface by which this machine sends to addr.
func (f Facts) linkTo(addr netip.Addr) (Link, bool) {
	if a, ok := f.subnet(addr); ok {
		return f.link(a.Index)
	}
	var best Route
	for _, r := range slices.Backward(f.defaultRoutes()) { // the lowest metric last
		best = r
	}
	for _, r := range f.Routes {
		if r.Destination.Contains(addr) && r.Destination.Bits() > best.Destination.Bits() {
			best = r
		}
	}
	return f.link(best.Index)
}

// defaultRoutes returns the default routes, the lowest metric first.
func (f Facts) defaultRoutes() []Route {
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

// describeLinks lists the interfaces with their addresses for messages.
func (f Facts) describeLinks() string {
	var out []string
	for _, l := range f.Links {
		if l.Loopback {
			continue
		}
		text := l.Name
		if a := f.describeAddresses(l.Index); a != "" {
			text += " (" + a + ")"
		}
		out = append(out, text)
	}
	if len(out) == 0 {
		return "no interface but the loopback"
	}
	return strings.Join(out, ", ")
}

// describeAddresses lists the node's own addresses on an interface for messages.
func (f Facts) describeAddresses(index int) string {
	var out []string
	for _, a := range f.Addresses {
		if a.Index == index && !a.ByVipd && a.Prefix.Addr() != f.VIP {
			out = append(out, a.Prefix.String())
		}
	}
	return strings.Join(out, ", ")
}

package gather

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/vipd-io/vipd/internal/doctor"
	"github.com/vipd-io/vipd/internal/staticpod"
	"github.com/vipd-io/vipd/internal/status"
	"github.com/vipd-io/vipd/pkg/arp"
	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/kubeapi"
	"github.com/vipd-io/vipd/pkg/netif"
)

// Host reads the network state of this machine.
type Host struct {
	handle *netif.Handle
	vip    netip.Addr
}

// OpenHost opens a netlink handle; Close closes the handle.
func OpenHost(vip netip.Addr) (*Host, error) {
	h, err := netif.Open(0)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return &Host{handle: h, vip: vip}, nil
}

// Close closes the netlink handle.
func (h *Host) Close() { h.handle.Close() }

// Input collects the input of the checks.
func (r *Request) Input(ctx context.Context, h *Host) (*doctor.Input, error) {
	f := doctor.Facts{VIP: r.VIP, Port: r.Port, Name: r.Name, Interface: r.Interface}
	if r.Management != "" {
		var err error
		if f.Management, err = r.readManagement(ctx); err != nil {
			return nil, err
		}
		f.VIP, f.Port = r.VIP, r.Port
		if p := f.Management.ControlPlane; f.Name == "" && p != nil {
			if _, err := netip.ParseAddr(p.Host); err != nil {
				f.Name = p.Host
			}
		}
		return &doctor.Input{Mode: r.Mode, Facts: f, Queries: doctor.Queries{Resolvers: resolvers, Lookup: lookup, Dial: (&net.Dialer{}).DialContext, ClusterNetworks: f.Management.Networks,
			Now: time.Now}}, nil //nolint:forbidigo // certificates have times of day
	}
	if f.Name == "" {
		f.Name = endpointName()
	}
	if err := h.network(&f); err != nil {
		return nil, err
	}
	var err error
	if f.CA, err = r.caCertificates(); err != nil {
		return nil, err
	}
	if r.Status != nil {
		f.VipdAnswered, f.Holder = true, r.Status.State == "holding"
		if r.Status.Configuration["interface"] == "" && r.Interface == "" {
			f.Chosen = r.Status.Interface.Name
		}
		f.LeaseKnown, f.LeaseHolder, f.NodeName = r.Status.Lease.Known, r.Status.Lease.Holder, r.Status.Node
		f.LeaseRenewed = r.Status.Health != status.NoHolder
		if d, err := time.ParseDuration(r.Status.Configuration["lease-duration"]); err == nil {
			f.LeaseDuration = d
		}
		for _, path := range r.kubeconfigs() {
			f.Kubeconfigs = append(f.Kubeconfigs, kubeconfig(path))
		}
	}
	return &doctor.Input{Mode: r.Mode, Facts: f, Queries: doctor.Queries{
		AskARP: h.askARP, Nobodys: arp.Nobodys, AskARPAs: h.askARPAs, Sysctl: sysctl, Dial: (&net.Dialer{}).DialContext, Resolvers: resolvers, Lookup: lookup,
		KubeVip: r.kubeVip, Clock: kernelClock, Slew: boottime.Slew, Firewall: r.firewall, Cluster: r.clusterQuery(ctx), Peers: r.peers, ListenForClaims: r.listenForClaims(),
		StaticPods: r.staticPods, Kubernetes: r.kubernetesVersion, SELinux: selinux, Bootstrap: bootstrap, ClusterNetworks: r.clusterNetworks,
		Now: time.Now, //nolint:forbidigo // certificates have times of day
	}}, nil
}

// caCertificates returns the certificates of the cluster's CA, or nil. vipd's container has them
// in its kubeconfig only.
func (r *Request) caCertificates() ([]byte, error) {
	ca, err := os.ReadFile(r.ca())
	switch {
	case err == nil && !x509.NewCertPool().AppendCertsFromPEM(ca):
		return nil, fmt.Errorf("read the cluster's CA: there is no certificate in %s", r.ca())
	case err == nil:
		return ca, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("read the cluster's CA: %w", err)
	}
	for _, path := range r.kubeconfigs() {
		file, err := clientcmd.LoadFromFile(path)
		if err != nil {
			continue // D17 reports it
		}
		if ca := kubeapi.Authority(file); x509.NewCertPool().AppendCertsFromPEM(ca) {
			return ca, nil
		}
	}
	return nil, nil
}

func (h *Host) network(f *doctor.Facts) error {
	now, err := h.handle.Snapshot()
	if err != nil {
		return err
	}
	routes, err := h.handle.Routes()
	if err != nil {
		return err
	}
	if l, err := now.Link(f.Interface); err == nil {
		f.Interface = l.Name // the setting may be an alternative name
		if to, ok := now.Follow(l, f.VIP); ok {
			f.Interface = to.Name // as vipd does
		}
	}
	for _, l := range now.Links() {
		link := doctor.Link{Name: l.Name, Index: l.Index, MAC: l.MAC, MTU: l.MTU, Up: l.Up, Loopback: l.Name == "lo", Local: l.Local}
		if master, is := now.PortOf(l); is {
			link.PortOf = master.Name
		}
		f.Links = append(f.Links, link)
	}
	ours := now.Presence(netif.Place{Addr: f.VIP, Link: linkOf(now, f)}).Ours
	for _, a := range now.Addresses() {
		if a.Prefix.Addr().Is4() && (a.Global || a.Prefix.Addr() == f.VIP) {
			f.Addresses = append(f.Addresses, doctor.Address{Prefix: a.Prefix, Index: a.Index, ByVipd: a.Ours, Leftover: !a.Ours && slices.Contains(ours, a)})
		}
	}
	for _, r := range routes {
		f.Routes = append(f.Routes, doctor.Route{Destination: r.Destination, Gateway: r.Gateway, Index: r.Index, Metric: r.Metric})
	}
	return nil
}

// linkOf returns the index of the interface that vipd uses for the VIP, 0 for none.
func linkOf(now *netif.Snapshot, f *doctor.Facts) int {
	name := f.Interface
	if name == "" {
		name, _ = now.Choose(f.VIP) // the checks report that there is none
	}
	l, _ := now.Link(name)
	return l.Index
}

func (h *Host) askARP(ctx context.Context, l doctor.Link, addr netip.Addr, enough int) ([]net.HardwareAddr, error) {
	return arp.Ask(ctx, l.Index, l.MAC, addr, enough)
}

func (h *Host) askARPAs(ctx context.Context, l doctor.Link, sender netip.Addr, addrs []netip.Addr) ([]net.HardwareAddr, error) {
	return arp.AskForAll(ctx, l.Index, l.MAC, sender, addrs)
}

// sysctl reads a setting. Its path has slashes, because interface names may contain dots.
func sysctl(path string) (string, error) {
	b, err := os.ReadFile(filepath.Join("/proc/sys", path))
	return string(b), err
}

// resolvers reads the name servers of resolv.conf(5).
func resolvers() ([]netip.AddrPort, error) {
	b, err := os.ReadFile("/etc/resolv.conf")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []netip.AddrPort
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil && len(out) < 3 { // MAXNS
			out = append(out, netip.AddrPortFrom(a, 53))
		}
	}
	return out, nil
}

func lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	got, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", name)
	for i := range got {
		got[i] = got[i].Unmap()
	}
	return got, err
}

// endpointName returns the DNS name of the API server in kubelet's kubeconfig, or "".
func endpointName() string {
	for _, path := range []string{"/etc/kubernetes/kubelet.conf", "/etc/kubernetes/bootstrap-kubelet.conf", "/etc/kubernetes/admin.conf"} {
		file, err := clientcmd.LoadFromFile(path)
		if err != nil {
			continue
		}
		current := file.Contexts[file.CurrentContext]
		if current == nil || file.Clusters[current.Cluster] == nil {
			continue
		}
		u, err := url.Parse(file.Clusters[current.Cluster].Server)
		if err != nil {
			continue
		}
		if _, err := netip.ParseAddr(u.Hostname()); err != nil && !slices.Contains([]string{"", "localhost"}, u.Hostname()) {
			return u.Hostname()
		}
	}
	return ""
}

// kubeconfig reads the state of a kubeconfig.
func kubeconfig(path string) doctor.File {
	f := doctor.File{Path: path}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.Missing = true
		return f
	case err != nil:
		f.Broken = err.Error()
		return f
	}
	f.Mode, f.Size = info.Mode(), info.Size()
	if !info.Mode().IsRegular() || info.Size() == 0 {
		return f
	}
	file, err := clientcmd.LoadFromFile(path)
	if errors.Is(err, fs.ErrPermission) && modeAllowsRead(info) {
		f.Denied = true
		return f
	}
	if err != nil {
		f.Broken = "the content cannot be parsed" // the library's error may quote a key
		return f
	}
	f.Expires, _ = kubeapi.Expiry(file)
	return f
}

// modeAllowsRead reports whether a file's mode lets this process read the file, ignoring groups.
func modeAllowsRead(info fs.FileInfo) bool {
	owner, ok := info.Sys().(*syscall.Stat_t)
	return ok && (int(owner.Uid) == os.Geteuid() && info.Mode().Perm()&0o400 != 0 || info.Mode().Perm()&0o004 != 0)
}

// kubeVip searches the folder of static pods for kube-vip.
func (r *Request) kubeVip() (string, error) {
	path, err := staticpod.KubeVipIn(r.manifests())
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return path, err
}

// kernelClock reads the synchronization state that NTP clients report to the kernel
// (adjtimex(2)).
func kernelClock() (synchronised bool, off time.Duration, err error) {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return false, 0, err
	}
	return t.Status&unix.STA_UNSYNC == 0, time.Duration(t.Maxerror) * time.Microsecond, nil
}

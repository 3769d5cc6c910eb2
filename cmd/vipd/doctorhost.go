package main

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

	"github.com/vipd-io/vipd/pkg/arp"
	"github.com/vipd-io/vipd/pkg/doctor"
	"github.com/vipd-io/vipd/pkg/kubeapi"
	"github.com/vipd-io/vipd/pkg/netif"
)

// doctorsHost is this machine as the doctor sees it.
type doctorsHost struct {
	handle *netif.Handle
	vip    netip.Addr
}

func openHost(vip netip.Addr) (*doctorsHost, error) {
	h, err := netif.Open(0)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return &doctorsHost{handle: h, vip: vip}, nil
}

func (h *doctorsHost) close() { h.handle.Close() }

// kase puts together what is known of this machine.
func (c *consultation) kase(ctx context.Context, h *doctorsHost) (*doctor.Case, error) {
	f := doctor.Facts{VIP: c.vip, Port: c.port, Name: c.name, Interface: c.link}
	if c.management != "" {
		var err error
		if f.Management, err = c.manage(ctx); err != nil {
			return nil, err
		}
		f.VIP, f.Port = c.vip, c.port
		if p := f.Management.ControlPlane; f.Name == "" && p != nil {
			if _, err := netip.ParseAddr(p.Host); err != nil {
				f.Name = p.Host
			}
		}
		return &doctor.Case{Mode: c.mode(), Facts: f, Questions: doctor.Questions{Resolvers: resolvers, Lookup: lookup, Dial: (&net.Dialer{}).DialContext,
			Now: time.Now}}, nil //nolint:forbidigo // certificates have times of day
	}
	if f.Name == "" {
		f.Name = endpointName()
	}
	if err := h.network(&f); err != nil {
		return nil, err
	}
	var err error
	if f.CA, err = c.authority(); err != nil {
		return nil, err
	}
	if c.asked != nil {
		f.Asked, f.Holder = true, c.asked.State == "holding"
		f.LeaseKnown, f.LeaseHolder, f.Self = c.asked.Lease.Known, c.asked.Lease.Holder, c.asked.Node
		if d, err := time.ParseDuration(c.asked.Configuration["lease-duration"]); err == nil {
			f.LeaseDuration = d
		}
		for _, path := range c.kubeconfigs() {
			f.Kubeconfigs = append(f.Kubeconfigs, kubeconfig(path))
		}
	}
	return &doctor.Case{Mode: c.mode(), Facts: f, Questions: doctor.Questions{
		Who: h.who, Sysctl: sysctl, Dial: (&net.Dialer{}).DialContext, Resolvers: resolvers, Lookup: lookup,
		KubeVip: c.kubeVip, Clock: kernelClock, Firewall: c.firewall, Cluster: c.inspector(ctx), Peers: c.peers, Overhear: c.overhear(),
		StaticPods: c.staticPods, Kubernetes: c.kubernetesVersion, SELinux: selinux, Bootstrap: bootstrap,
		Now: time.Now, //nolint:forbidigo // certificates have times of day
	}}, nil
}

// authority are the certificates of the cluster's CA, nil if they are not here. vipd's
// container sees them in its kubeconfig only.
func (c *consultation) authority() ([]byte, error) {
	ca, err := os.ReadFile(c.ca)
	switch {
	case err == nil && !x509.NewCertPool().AppendCertsFromPEM(ca):
		return nil, fmt.Errorf("read the cluster's CA: there is no certificate in %s", c.ca)
	case err == nil:
		return ca, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("read the cluster's CA: %w", err)
	}
	for _, path := range c.kubeconfigs() {
		file, err := clientcmd.LoadFromFile(path)
		if err != nil {
			continue // as D17 tells
		}
		if ca := kubeapi.Authority(file); x509.NewCertPool().AppendCertsFromPEM(ca) {
			return ca, nil
		}
	}
	return nil, nil
}

func (h *doctorsHost) network(f *doctor.Facts) error {
	links, err := h.handle.Links()
	if err != nil {
		return err
	}
	addrs, err := h.handle.Addresses()
	if err != nil {
		return err
	}
	routes, err := h.handle.Routes()
	if err != nil {
		return err
	}
	if l, err := h.handle.Link(f.Interface); err == nil {
		f.Interface = l.Name // it may be configured by an alternative name
	}
	for _, l := range links {
		f.Links = append(f.Links, doctor.Link{Name: l.Name, Index: l.Index, MAC: l.MAC, Up: l.Up, Loopback: l.Name == "lo"})
	}
	for _, a := range addrs {
		if a.Prefix.Addr().Is4() && a.Global {
			f.Addresses = append(f.Addresses, doctor.Address{Prefix: a.Prefix, Index: a.Index, Ours: a.Ours})
		}
	}
	for _, r := range routes {
		f.Routes = append(f.Routes, doctor.Route{Destination: r.Destination, Gateway: r.Gateway, Index: r.Index, Metric: r.Metric})
	}
	return nil
}

func (h *doctorsHost) who(ctx context.Context, l doctor.Link, addr netip.Addr, enough int) ([]net.HardwareAddr, error) {
	return arp.Ask(ctx, l.Index, l.MAC, addr, enough)
}

// sysctl reads a setting; slashes stay, as an interface's name may have dots.
func sysctl(path string) (string, error) {
	b, err := os.ReadFile(filepath.Join("/proc/sys", path))
	return string(b), err
}

// resolvers are those of resolv.conf(5).
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

// endpointName is the name by which kubelet goes to the API server, "" if it is none.
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

// kubeconfig is what is known of one.
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
	if errors.Is(err, fs.ErrPermission) && allowed(info) {
		f.Denied = true
		return f
	}
	if err != nil {
		f.Broken = "it is not readable as one" // the library's error quotes it, and it may be a key
		return f
	}
	f.Expires, _ = kubeapi.Expiry(file)
	return f
}

// allowed tells whether a file's mode lets this process read it, groups left aside.
func allowed(info fs.FileInfo) bool {
	owner, ok := info.Sys().(*syscall.Stat_t)
	return ok && (int(owner.Uid) == os.Geteuid() && info.Mode().Perm()&0o400 != 0 || info.Mode().Perm()&0o004 != 0)
}

// kubeVip looks where kubelet does, unless vipd was told to look elsewhere.
func (c *consultation) kubeVip() (string, error) {
	path, err := kubeVipIn(c.manifests())
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return path, err
}

// kernelClock asks the kernel (adjtimex(2)), which whoever keeps its clock right tells.
func kernelClock() (synchronised bool, off time.Duration, err error) {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return false, 0, err
	}
	return t.Status&unix.STA_UNSYNC == 0, time.Duration(t.Maxerror) * time.Microsecond, nil
}

package doctor

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// The checks of what makes the machines: the KubeadmControlPlane.

// ManagementCluster is what the management cluster has of a cluster.
type ManagementCluster struct {
	Pools  []Pool
	Handed []Handed
	// Unread says which of them could not be read, or not all; nil if all were.
	Unread error
	// ControlPlane is nil if the cluster has none of kubeadm's.
	ControlPlane *ControlPlane
}

// ControlPlane is a KubeadmControlPlane, as far as the VIP goes.
type ControlPlane struct {
	Namespace, Name string
	// Host and Port are the cluster's controlPlaneEndpoint, "" and 0 if it has none yet.
	Host string
	Port uint16
	// VSphere is the cluster's VSphereCluster, nil if it has none; Unread says why that
	// is not known.
	VSphere *VSphereCluster
	Unread  error
	// CertSANs are the names that kubeadm is told to put into the API servers' certificates.
	CertSANs []string
	// Vipd is vipd's manifest in its files, nil for none.
	Vipd *VipdFile
	// KubeVip tells where kube-vip is mentioned: "file /etc/kubernetes/manifests/kube-vip.yaml".
	KubeVip []string
	// Lint is what would not arrive on a machine as it is, a sentence each.
	Lint []string
}

// VSphereCluster is one, as far as the VIP goes.
type VSphereCluster struct {
	Namespace, Name string
	// Host and Port are its controlPlaneEndpoint, "" and 0 if it has none.
	Host string
	Port uint16
}

// VipdFile is a manifest of vipd.
type VipdFile struct {
	Path    string
	Address netip.Addr
	Port    uint16
}

func (p *ControlPlane) name() string { return "KubeadmControlPlane " + p.Namespace + "/" + p.Name }

func (p *ControlPlane) edit() string {
	return fmt.Sprintf("kubectl -n %s edit kubeadmcontrolplane %s", p.Namespace, p.Name)
}

// leftKubeVip is the part of D25 that the management cluster has to tell.
func (p *ControlPlane) leftKubeVip() []Finding {
	if p == nil || len(p.KubeVip) == 0 {
		return nil
	}
	f := Finding{Severity: Warning, Mark: "in the control plane", Seen: fmt.Sprintf("%s has kube-vip: %s", p.name(), strings.Join(p.KubeVip, ", ")), Why: "its machines come up with kube-vip, not with vipd",
		Mend: []string{fmt.Sprintf("kubectl -n %s get kubeadmcontrolplane %s -o yaml > kcp.yaml; vipd manifest migrate kcp.yaml", p.Namespace, p.Name)}}
	if p.Vipd != nil {
		f.Severity, f.Mark, f.Why = Error, "both", "its machines come up with both, and vipd waits while kube-vip is there; a command that edits a file which is gone ends kubeadm"
	}
	return []Finding{f}
}

var badFiles = Check{ID: "D30", Title: "files of the KubeadmControlPlane", Modes: Management, Look: func(_ context.Context, c *Case) ([]Finding, error) {
	p := c.Facts.Management.ControlPlane
	if p == nil {
		return nil, nil
	}
	out := slices.Concat(p.endpoints(), p.unnamed(c.Facts.Name))
	for _, text := range p.Lint {
		out = append(out, Finding{Severity: Error, Mark: "content", Seen: p.name() + ": " + text, Why: "the file does not arrive on the machines as it is written, or no machine is made at all",
			Mend: []string{"vipd manifest kcp writes one that does", p.edit()}})
	}
	if v := p.Vipd; v != nil && !v.Address.IsValid() {
		out = append(out, Finding{Severity: Error, Mark: "no address", Seen: fmt.Sprintf("%s has no address that could be read in %s", p.name(), v.Path), Why: "vipd does not start without one", Mend: []string{"in that file, env address: the VIP", p.edit()}})
	}
	if v := p.Vipd; v != nil {
		if host, err := netip.ParseAddr(p.Host); err == nil && v.Address.IsValid() && host != v.Address {
			out = append(out, Finding{Severity: Error, Mark: "address", Seen: fmt.Sprintf("%s puts up %s in %s, and the cluster's endpoint is %s", p.name(), v.Address, v.Path, host), Why: "everything goes to the endpoint, which nobody puts up",
				Mend: []string{"in that file, env address: " + host.String(), p.edit()}})
		}
		if p.Port != 0 && p.Port != v.Port {
			out = append(out, Finding{Severity: Error, Mark: "port", Seen: fmt.Sprintf("%s looks after port %d in %s, and the cluster's endpoint has port %d", p.name(), v.Port, v.Path, p.Port), Why: "vipd asks the API servers on a port at which none listens, and so no node is ready for the VIP",
				Mend: []string{fmt.Sprintf("in that file, env VIPD_PORT: \"%d\"", p.Port), p.edit()}})
		}
	}
	return out, p.Unread
}}

// endpoints finds that the Cluster and the VSphereCluster have different ones: Cluster API
// copies it once, when the Cluster has none yet.
func (p *ControlPlane) endpoints() []Finding {
	v := p.VSphere
	if v == nil || v.Host == "" || p.Host == "" || v.Host == p.Host && v.Port == p.Port {
		return nil
	}
	here, there := net.JoinHostPort(p.Host, strconv.Itoa(int(p.Port))), net.JoinHostPort(v.Host, strconv.Itoa(int(v.Port)))
	return []Finding{{Severity: Error, Mark: "endpoints", Seen: fmt.Sprintf("VSphereCluster %s/%s has the endpoint %s, and the Cluster has %s", v.Namespace, v.Name, there, here),
		Why: "Cluster API takes it from the VSphereCluster once, and machines and kubeconfigs are made with the Cluster's: who goes by the other one finds nobody",
		Mend: []string{fmt.Sprintf("if %s is right: kubectl -n %s patch vspherecluster %s --type merge -p '{\"spec\":{\"controlPlaneEndpoint\":{\"host\":\"%s\",\"port\":%d}}}'", here, v.Namespace, v.Name, p.Host, p.Port),
			"if it is not: a cluster's endpoint cannot be changed later without making it anew"}}}
}

// unnamed finds that the certificates of the API servers will not have the name of the
// VIP. kubeadm itself adds the endpoint's host.
func (p *ControlPlane) unnamed(name string) []Finding {
	same := func(s string) bool {
		return strings.EqualFold(strings.TrimSuffix(s, "."), strings.TrimSuffix(name, "."))
	}
	if name == "" || same(p.Host) || slices.ContainsFunc(p.CertSANs, same) {
		return nil
	}
	return []Finding{{Severity: Error, Mark: "name", Seen: fmt.Sprintf("%s has no %s among its certSANs, which are %q", p.name(), name, p.CertSANs), Why: "who goes by that name is told: x509: certificate is valid for other names",
		Mend: []string{"add it to spec.kubeadmConfigSpec.clusterConfiguration.apiServer.certSANs, which rolls the machines; vipd manifest kcp --dns-name " + name + " writes it", p.edit()}}}
}

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

// The checks of the KubeadmControlPlane.

// ManagementCluster is the state of one cluster's objects in the management cluster.
type ManagementCluster struct {
	Pools       []Pool
	IPAddresses []IPAddress
	// Unread is the error of incomplete reads of these, or nil.
	Unread error
	// ControlPlane is nil if the cluster has no KubeadmControlPlane.
	ControlPlane *ControlPlane
}

// ControlPlane is the part of a KubeadmControlPlane that concerns the VIP.
type ControlPlane struct {
	Namespace, Name string
	// Host and Port are the cluster's controlPlaneEndpoint, or "" and 0 without an endpoint.
	Host string
	Port uint16
	// VSphere is the cluster's VSphereCluster, or nil. Unread is the error of reading it.
	VSphere *VSphereCluster
	Unread  error
	// Networks are the ranges of Services and pods of the cluster.
	Networks []ClusterNetwork
	// CertSANs are the certSANs of the API servers' certificates.
	CertSANs []string
	// Vipd is vipd's manifest in the files, or nil.
	Vipd *VipdFile
	// KubeVip lists the places that mention kube-vip: "file
	// /etc/kubernetes/manifests/kube-vip.yaml".
	KubeVip []string
	// Cluster is the name of the cluster. Initialized: kubeadm init has finished on a machine.
	Cluster     string
	Initialized bool
	// Templates are the VSphereMachineTemplates of the cluster's machines. TemplatesUnread is the
	// error of an incomplete read of these, or nil.
	Templates       []MachineTemplate
	TemplatesUnread error
	// Lint lists contents that would be changed on their way to a machine, one sentence each.
	Lint []string
}

// VSphereCluster is the part of a VSphereCluster that concerns the VIP.
type VSphereCluster struct {
	Namespace, Name string
	// Host and Port are the controlPlaneEndpoint, or "" and 0.
	Host string
	Port uint16
}

// VipdFile is vipd's manifest in the files of a KubeadmControlPlane.
type VipdFile struct {
	Path    string
	Address netip.Addr
	Port    uint16
}

// Networks returns the ranges of Services and pods of the cluster, as far as known.
func (m *ManagementCluster) Networks() ([]ClusterNetwork, error) {
	if m.ControlPlane == nil {
		return nil, nil
	}
	return m.ControlPlane.Networks, nil
}

func (p *ControlPlane) name() string { return "KubeadmControlPlane " + p.Namespace + "/" + p.Name }

func (p *ControlPlane) edit() string {
	return fmt.Sprintf("kubectl -n %s edit kubeadmcontrolplane %s", p.Namespace, p.Name)
}

// rollOut returns what gives the machines of a control plane new addresses: allocations do not change.
func (p *ControlPlane) rollOut() string {
	const why = "then replace the machines, because existing allocations do not change: "
	switch {
	case p == nil:
		return why + "clusterctl alpha rollout restart kubeadmcontrolplane/NAME -n NAMESPACE"
	case p.Initialized:
		return why + fmt.Sprintf("clusterctl alpha rollout restart kubeadmcontrolplane/%s -n %s", p.Name, p.Namespace)
	}
	return "then delete the machine, which never worked and keeps its allocation; Cluster API makes a new one: " +
		fmt.Sprintf("kubectl -n %s delete machines -l cluster.x-k8s.io/cluster-name=%s,cluster.x-k8s.io/control-plane", p.Namespace, p.Cluster)
}

// kubeVipFindings is the part of D25 that examines the KubeadmControlPlane.
func (p *ControlPlane) kubeVipFindings() []Finding {
	if p == nil || len(p.KubeVip) == 0 {
		return nil
	}
	f := Finding{Severity: Warning, Kind: "in the control plane", Seen: fmt.Sprintf("%s has kube-vip: %s", p.name(), strings.Join(p.KubeVip, ", ")), Why: "new machines run kube-vip, and not vipd",
		Remedy: []string{fmt.Sprintf("kubectl -n %s get kubeadmcontrolplane %s -o yaml > kcp.yaml; vipd manifest migrate kcp.yaml", p.Namespace, p.Name)}}
	if p.Vipd != nil {
		f.Severity, f.Kind, f.Why = Error, "both", "new machines run both, and vipd waits until kube-vip is removed; a command that edits a missing file stops kubeadm"
	}
	return []Finding{f}
}

var controlPlaneFiles = Check{ID: "D30", Title: "files of the KubeadmControlPlane", Modes: Management, Run: func(_ context.Context, in *Input) ([]Finding, error) {
	p := in.Facts.Management.ControlPlane
	if p == nil {
		return nil, nil
	}
	out := slices.Concat(p.endpointMismatch(), p.missingCertSAN(in.Facts.Name))
	for _, text := range p.Lint {
		out = append(out, Finding{Severity: Error, Kind: "content", Seen: p.name() + ": " + text, Why: "the file is changed on its way to the machines, or no machine is created at all",
			Remedy: []string{"vipd manifest kcp writes a correct file", p.edit()}})
	}
	if v := p.Vipd; v != nil && !v.Address.IsValid() {
		out = append(out, Finding{Severity: Error, Kind: "no address", Seen: fmt.Sprintf("%s has no readable address in %s", p.name(), v.Path), Why: "vipd does not start without an address", Remedy: []string{"in that file, env address: the VIP", p.edit()}})
	}
	if v := p.Vipd; v != nil {
		if host, err := netip.ParseAddr(p.Host); err == nil && v.Address.IsValid() && host != v.Address {
			out = append(out, Finding{Severity: Error, Kind: "address", Seen: fmt.Sprintf("%s configures %s in %s, and the cluster's endpoint is %s", p.name(), v.Address, v.Path, host), Why: "all clients connect to the endpoint, which no node holds",
				Remedy: []string{"in that file, env address: " + host.String(), p.edit()}})
		}
		if p.Port != 0 && p.Port != v.Port {
			out = append(out, Finding{Severity: Error, Kind: "port", Seen: fmt.Sprintf("%s configures port %d in %s, and the cluster's endpoint has port %d", p.name(), v.Port, v.Path, p.Port), Why: "vipd probes the API servers at a port without a listener, so no node is ready for the VIP",
				Remedy: []string{fmt.Sprintf("in that file, env VIPD_PORT: \"%d\"", p.Port), p.edit()}})
		}
	}
	return out, p.Unread
}}

// endpointMismatch reports different endpoints of the Cluster and the VSphereCluster. Cluster
// API copies the endpoint once, while the Cluster has none.
func (p *ControlPlane) endpointMismatch() []Finding {
	v := p.VSphere
	if v == nil || v.Host == "" || p.Host == "" || v.Host == p.Host && v.Port == p.Port {
		return nil
	}
	here, there := net.JoinHostPort(p.Host, strconv.Itoa(int(p.Port))), net.JoinHostPort(v.Host, strconv.Itoa(int(v.Port)))
	return []Finding{{Severity: Error, Kind: "endpoints", Seen: fmt.Sprintf("VSphereCluster %s/%s has the endpoint %s, and the Cluster has %s", v.Namespace, v.Name, there, here),
		Why: "Cluster API copies the endpoint from the VSphereCluster once, and creates machines and kubeconfigs with the Cluster's endpoint: clients of the other endpoint reach no server",
		Remedy: []string{fmt.Sprintf("if %s is right: kubectl -n %s patch vspherecluster %s --type merge -p '{\"spec\":{\"controlPlaneEndpoint\":{\"host\":\"%s\",\"port\":%d}}}'", here, v.Namespace, v.Name, p.Host, p.Port),
			"if not: the endpoint of an existing cluster cannot be changed; create the cluster again"}}}
}

// missingCertSAN reports that the API servers' certificates will lack the DNS name of the VIP.
// kubeadm itself adds the endpoint's host.
func (p *ControlPlane) missingCertSAN(name string) []Finding {
	same := func(s string) bool {
		return strings.EqualFold(strings.TrimSuffix(s, "."), strings.TrimSuffix(name, "."))
	}
	if name == "" || same(p.Host) || slices.ContainsFunc(p.CertSANs, same) {
		return nil
	}
	return []Finding{{Severity: Error, Kind: "name", Seen: fmt.Sprintf("%s has no %s among its certSANs, which are %q", p.name(), name, p.CertSANs), Why: "clients that use this name fail with: x509: certificate is valid for other names",
		Remedy: []string{"add it to spec.kubeadmConfigSpec.clusterConfiguration.apiServer.certSANs, which rolls the machines; vipd manifest kcp --dns-name " + name + " writes it", p.edit()}}}
}

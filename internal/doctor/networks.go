package doctor

import (
	"context"
	"fmt"
	"net/netip"
)

// The check of the VIP against the networks of the cluster.

// ClusterNetwork is a range of addresses that the cluster gives to Services or to pods.
type ClusterNetwork struct {
	Use    NetworkUse
	Prefix netip.Prefix
	// Source is where the range was read, such as "--service-cluster-ip-range of
	// kube-apiserver".
	Source string
}

// NetworkUse is what a range of addresses is for.
type NetworkUse string

const (
	// Services is the range of ClusterIPs.
	Services NetworkUse = "Service"
	// Pods is the range of pods.
	Pods NetworkUse = "pod"
)

var vipInClusterNetwork = Check{ID: "D32", Title: "VIP outside of the cluster's networks", Modes: Node | Preflight | Management, Run: func(ctx context.Context, in *Input) ([]Finding, error) {
	if in.Queries.ClusterNetworks == nil {
		return nil, nil
	}
	networks, err := in.Queries.ClusterNetworks()
	if c, unread := in.cluster(ctx); unread == nil && c != nil {
		for _, m := range c.Nodes {
			for _, p := range m.PodCIDRs {
				networks = append(networks, ClusterNetwork{Pods, p, "podCIDR of node " + m.Name})
			}
		}
	}
	for _, n := range networks {
		if n.Prefix.Contains(in.Facts.VIP) {
			return []Finding{n.contains(in.Facts.VIP)}, nil
		}
	}
	return nil, err
}}

// contains reports that the VIP is in the range. The first range is enough: the fix is the same for
// all.
func (n ClusterNetwork) contains(vip netip.Addr) Finding {
	f := Finding{Severity: Error, Kind: "services", Seen: fmt.Sprintf("the VIP %s is in the %s CIDR %s of the cluster (%s)", vip, n.Use, n.Prefix, n.Source),
		Why: "Kubernetes may give the VIP to a Service as its ClusterIP. kube-proxy, or the CNI plugin in its place, then sends connections to that address on each node to the Service, and not to the holder of the VIP",
		Remedy: []string{"new cluster: choose a VIP outside of the Service CIDR and the pod CIDR, or another Service CIDR (spec.clusterNetwork.services.cidrBlocks of the Cluster, networking.serviceSubnet of kubeadm)",
			"running cluster: has a Service the address? kubectl get services -A | grep " + vip.String(), "the Service CIDR of a running cluster cannot be changed in place, nor its controlPlaneEndpoint: vipd doctor explain D32"}}
	if n.Use == Pods {
		f.Kind = "pods"
		f.Why = "the CNI plugin gives addresses of this range to pods, and routes them to the nodes of the pods: the VIP can become the address of a pod, and nodes and pods do not reach the holder of the VIP"
		f.Remedy[0] = "new cluster: choose a VIP outside of the Service CIDR and the pod CIDR, or another pod CIDR (spec.clusterNetwork.pods.cidrBlocks of the Cluster, networking.podSubnet of kubeadm, and the CNI plugin's own setting)"
		f.Remedy[1] = "running cluster: has a pod the address? kubectl get pods -A -o wide | grep " + vip.String()
		f.Remedy[2] = "the pod CIDR of a running cluster cannot be changed in place, nor its controlPlaneEndpoint: vipd doctor explain D32"
	}
	return f
}

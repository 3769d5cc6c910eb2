package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// The checks of objects in the cluster.

// Cluster is the state of the objects that vipd depends on, from an API server.
type Cluster struct {
	// Denied are the verbs on the Lease that vipd's credentials lack.
	Denied []string
	// Lease is nil if there is no Lease, or if reading it is forbidden.
	Lease *Lease
	// Nodes are the control-plane nodes. NodesKnown is false if listing nodes is forbidden.
	Nodes      []Member
	NodesKnown bool
}

// Lease is the content of the Lease object.
type Lease struct {
	// Holder is "" if nobody holds the Lease.
	Namespace, Name, Holder string
	// ByVipd: a vipd wrote the holder.
	ByVipd bool
	// Duration and Renewed are spec.leaseDurationSeconds and spec.renewTime.
	Duration time.Duration
	Renewed  time.Time
	// Lengthened: the holder extended the duration beyond its configuration, and recorded
	// that.
	Lengthened bool
}

// Member is a Node object.
type Member struct {
	Name        string
	InternalIPs []netip.Addr
	// PodCIDRs are the ranges of the pods on this node, as far as Kubernetes assigns them.
	PodCIDRs []netip.Prefix
}

// ErrUntrusted is returned by Queries.Cluster if the credentials, or their CA, belong to
// another cluster than the API server.
var ErrUntrusted = errors.New("credentials and API server belong to different clusters")

// ErrNoAnswer is returned by Queries.Cluster if no API server answered.
var ErrNoAnswer = errors.New("no API server answers")

// cluster returns the state of the cluster. The result is nil without an error if there are
// no credentials, or if D16 and D17 report the obstacle.
func (in *Input) cluster(ctx context.Context) (*Cluster, error) {
	if in.Queries.Cluster == nil {
		return nil, nil
	}
	got, err := in.Queries.Cluster(ctx)
	if errors.Is(err, ErrNoAnswer) || errors.Is(err, ErrUntrusted) {
		return nil, nil
	}
	return got, err
}

// permissions is the part of D17 that queries an API server.
func (in *Input) permissions(ctx context.Context) ([]Finding, error) {
	if in.Queries.Cluster == nil {
		return nil, nil
	}
	got, err := in.Queries.Cluster(ctx)
	switch {
	case errors.Is(err, ErrUntrusted):
		return []Finding{{Severity: Error, Kind: "untrusted", Seen: "this node's API server: " + err.Error(), Why: "vipd cannot write the Lease with these credentials, and never holds the VIP without the Lease",
			Remedy: []string{"credentials of vipd: rm /etc/vipd/kubeconfig; the container `credentials` creates new credentials", "credentials of kubeadm: kubeadm certs check-expiration; kubeadm certs renew admin.conf",
				"was the machine cloned, or its disk taken from another cluster? ls -l /etc/kubernetes/pki"}}}, nil
	case errors.Is(err, ErrNoAnswer):
		return nil, nil // D16 reports it
	case err != nil || got == nil || len(got.Denied) == 0:
		return nil, err
	}
	return []Finding{{Severity: Error, Kind: "forbidden", Seen: "the API server does not let vipd's credentials " + strings.Join(got.Denied, ", ") + " the Lease",
		Why: "vipd never holds the VIP without these permissions. For admin.conf on the first node, this is normal until kubeadm init is nearly done (from 1.29 on)",
		Remedy: []string{"vipd's container `credentials` applies missing RBAC; if not, its log states the reason: " + credentialsLog,
			"by hand: vipd manifest rbac | kubectl --kubeconfig /etc/kubernetes/admin.conf apply -f -",
			"with admin.conf: kubectl --kubeconfig /etc/kubernetes/super-admin.conf get clusterrolebinding kubeadm:cluster-admins"}}}, nil
}

// staleAfter is the least age of a Lease without renewals that D18 reports: well above the
// time of a failover and the usual difference of two clocks.
const staleAfter = 30 * time.Second

var leaseInvalid = Check{ID: "D18", Title: "lease", Modes: Node, Run: func(ctx context.Context, in *Input) ([]Finding, error) {
	got, err := in.cluster(ctx)
	if err != nil || got == nil || got.Lease == nil || got.Lease.Holder == "" {
		return nil, err
	}
	l, now := got.Lease, in.Queries.Now()
	lease := fmt.Sprintf("lease %s/%s is held by %s", l.Namespace, l.Name, l.Holder)
	look := fmt.Sprintf("kubectl -n %s get lease %s -o yaml", l.Namespace, l.Name)
	age := now.Sub(l.Renewed)
	if age > max(staleAfter, 3*l.Duration) {
		seen := fmt.Sprintf("%s, which last renewed the Lease %s ago (the duration is %s)", lease, age.Round(time.Second), l.Duration)
		if got.unknownNode(l.Holder) {
			seen = fmt.Sprintf("%s, which is no control-plane node of this cluster, and was last renewed %s ago (the duration is %s)", lease, age.Round(time.Second), l.Duration)
		}
		return []Finding{{Severity: Error, Kind: "stale", Seen: seen, Why: "no node takes the Lease, so no node has the VIP: no vipd runs, or no vipd can write the Lease. The Lease itself is valid: the next vipd that runs takes the Lease",
			Remedy: []string{look, "on each control-plane node: vipd status; crictl ps -a --name vipd", "is a clock wrong? See D27, and compare date -u on the nodes"}}}, nil
	}
	var out []Finding
	if got.unknownNode(l.Holder) {
		out = append(out, Finding{Severity: Error, Kind: "stranger", Seen: lease + ", which is no control-plane node of this cluster, and renews the Lease", Why: "a machine that was removed from the cluster, or belongs to another cluster, has the VIP",
			Remedy: []string{look, "the nodes: kubectl get nodes -l node-role.kubernetes.io/control-plane", "find the machine by the MAC in the Lease's annotation, and stop its vipd; do not delete the Lease"}})
	}
	if !l.ByVipd {
		out = append(out, Finding{Severity: Warning, Kind: "foreign", Seen: lease + ", and no vipd wrote it", Why: "kube-vip, or another program on that node, holds the Lease, and vipd waits for the Lease to expire. With kube-vip, this is normal during a migration; kube-vip has no fencing",
			Remedy: []string{"which nodes still have kube-vip: ls /etc/kubernetes/manifests, on each", "remove kube-vip from the KubeadmControlPlane: vipd manifest migrate CLUSTER.yaml"}})
	}
	if own := in.Facts.LeaseDuration; l.ByVipd && own > 0 && l.Duration != own && !l.Lengthened {
		out = append(out, Finding{Severity: Warning, Kind: "duration", Seen: fmt.Sprintf("%s for %s after a renewal, and this node's vipd is set to %s", lease, l.Duration, own), Why: "two configurations share one Lease: the time until a failover depends on which node held the VIP",
			Remedy: []string{"vipd's manifest, on each control-plane node: grep -A1 -e VIPD_PROFILE -e VIPD_LEASE_DURATION /etc/kubernetes/manifests/vipd.yaml", "during a rollout of a new setting this is normal, and ends with the rollout"}})
	}
	return out, nil
}}

// unknownNode reports whether no control-plane node has this name.
func (c *Cluster) unknownNode(name string) bool {
	return c.NodesKnown && len(c.Nodes) > 0 && !slices.ContainsFunc(c.Nodes, func(m Member) bool { return m.Name == name })
}

var nodeIPIsVIP = Check{ID: "D26", Title: "node address", Modes: Node, Run: func(ctx context.Context, in *Input) ([]Finding, error) {
	got, err := in.cluster(ctx)
	if err != nil || got == nil {
		return nil, err
	}
	var out []Finding
	for _, m := range got.Nodes {
		if !slices.Contains(m.InternalIPs, in.Facts.VIP) {
			continue
		}
		out = append(out, Finding{Severity: Warning, Seen: fmt.Sprintf("node %s has the VIP %s as its InternalIP", m.Name, in.Facts.VIP), Why: "kubelet registered the VIP as the node's own address: logs, exec and pod traffic of that node go to whichever node holds the VIP",
			Remedy: []string{"in the KubeadmControlPlane, initConfiguration and joinConfiguration: nodeRegistration.kubeletExtraArgs with node-ip and the node's own address",
				"on " + m.Name + ", until then: add --node-ip=ADDRESS to KUBELET_KUBEADM_ARGS in /var/lib/kubelet/kubeadm-flags.env; systemctl restart kubelet"}})
	}
	return out, nil
}}

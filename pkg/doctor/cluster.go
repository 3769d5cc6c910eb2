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

// The checks of what the cluster says, by an API server's word.

// Cluster is what an API server says of that which vipd depends on there.
type Cluster struct {
	// Denied are the verbs that vipd's credentials lack for the Lease.
	Denied []string
	// Lease is nil if there is none, or it may not be read.
	Lease *Lease
	// Nodes are those of the control plane; NodesKnown is false if they may not be
	// listed.
	Nodes      []Member
	NodesKnown bool
}

// Lease is one as it stands in the cluster.
type Lease struct {
	// Namespace and Name are its own; Holder is "" for nobody.
	Namespace, Name, Holder string
	// ByVipd: a vipd wrote who holds it.
	ByVipd bool
	// Duration is how long it is good for after Renewed, both by its own word.
	Duration time.Duration
	Renewed  time.Time
}

// Member is a Node object.
type Member struct {
	Name        string
	InternalIPs []netip.Addr
}

// ErrUntrusted is what Questions.Cluster says of credentials, or of a CA in them, that
// the API server is not of.
var ErrUntrusted = errors.New("credentials and API server are not of one cluster")

// ErrNoAnswer is what Questions.Cluster says if no API server answered.
var ErrNoAnswer = errors.New("no API server answers")

// cluster asks once for all checks. It is nil without an error where nothing can be
// asked, or where what is in the way is told by D16 and D17.
func (c *Case) cluster(ctx context.Context) (*Cluster, error) {
	if c.Questions.Cluster == nil {
		return nil, nil
	}
	got, err := c.Questions.Cluster(ctx)
	if errors.Is(err, ErrNoAnswer) || errors.Is(err, ErrUntrusted) {
		return nil, nil
	}
	return got, err
}

// allowed is the part of D17 that an API server has to tell.
func (c *Case) allowed(ctx context.Context) ([]Finding, error) {
	if c.Questions.Cluster == nil {
		return nil, nil
	}
	got, err := c.Questions.Cluster(ctx)
	switch {
	case errors.Is(err, ErrUntrusted):
		return []Finding{{Severity: Error, Mark: "untrusted", Seen: "this node's API server: " + err.Error(), Why: "vipd cannot write the Lease with them, and without that it never holds the VIP",
			Mend: []string{"vipd's own: rm /etc/vipd/kubeconfig; the container `credentials` makes a new one", "kubeadm's: kubeadm certs check-expiration; kubeadm certs renew admin.conf",
				"was the machine cloned, or its disk taken from another cluster? ls -l /etc/kubernetes/pki"}}}, nil
	case errors.Is(err, ErrNoAnswer):
		return nil, nil // as D16 tells
	case err != nil || got == nil || len(got.Denied) == 0:
		return nil, err
	}
	return []Finding{{Severity: Error, Mark: "forbidden", Seen: "the API server does not let vipd's credentials " + strings.Join(got.Denied, ", ") + " the Lease",
		Why: "vipd never holds the VIP without. For admin.conf on the first node, that is normal until kubeadm init is nearly done (from 1.29 on)",
		Mend: []string{"vipd's container `credentials` applies what is missing; its log says why not: " + credentialsLog,
			"by hand: vipd manifest rbac | kubectl --kubeconfig /etc/kubernetes/admin.conf apply -f -",
			"with admin.conf: kubectl --kubeconfig /etc/kubernetes/super-admin.conf get clusterrolebinding kubeadm:cluster-admins"}}}, nil
}

// stale is when a Lease that nobody renews is worth a word: well above what any
// manager of a VIP takes to move it, and what two clocks may differ by.
const stale = 30 * time.Second

var leaseInsane = Check{ID: "D18", Title: "lease", Modes: Node, Look: func(ctx context.Context, c *Case) ([]Finding, error) {
	got, err := c.cluster(ctx)
	if err != nil || got == nil || got.Lease == nil || got.Lease.Holder == "" {
		return nil, err
	}
	l, now := got.Lease, c.Questions.Now()
	lease := fmt.Sprintf("lease %s/%s is held by %s", l.Namespace, l.Name, l.Holder)
	look := fmt.Sprintf("kubectl -n %s get lease %s -o yaml", l.Namespace, l.Name)
	age := now.Sub(l.Renewed)
	if age > max(stale, 3*l.Duration) {
		seen := fmt.Sprintf("%s, which last renewed it %s ago (it is good for %s)", lease, age.Round(time.Second), l.Duration)
		if got.stranger(l.Holder) {
			seen = fmt.Sprintf("%s, which is no control-plane node of this cluster, and was last renewed %s ago (it is good for %s)", lease, age.Round(time.Second), l.Duration)
		}
		return []Finding{{Severity: Error, Mark: "stale", Seen: seen, Why: "no node takes it, and so none has the VIP: no vipd runs, or none can write the Lease. Nothing is wrong with the Lease: the next vipd that runs takes it",
			Mend: []string{look, "on each control-plane node: vipd status; crictl ps -a --name vipd", "is it the clock? D27, and date -u here and there"}}}, nil
	}
	var out []Finding
	if got.stranger(l.Holder) {
		out = append(out, Finding{Severity: Error, Mark: "stranger", Seen: lease + ", which is no control-plane node of this cluster, and renews it", Why: "a machine that was taken out of the cluster, or is of another one, has the VIP",
			Mend: []string{look, "the nodes: kubectl get nodes -l node-role.kubernetes.io/control-plane", "find the machine by the MAC in the Lease's annotation, and stop its vipd; do not delete the Lease"}})
	}
	if !l.ByVipd {
		out = append(out, Finding{Severity: Warning, Mark: "foreign", Seen: lease + ", and no vipd wrote it", Why: "kube-vip has it there, and vipd waits for its turn: that is so during a migration; kube-vip does not fence",
			Mend: []string{"which nodes still have it: ls /etc/kubernetes/manifests, on each", "take it out of the KubeadmControlPlane: vipd manifest migrate CLUSTER.yaml"}})
	}
	if own := c.Facts.LeaseDuration; l.ByVipd && own > 0 && l.Duration != own {
		out = append(out, Finding{Severity: Warning, Mark: "duration", Seen: fmt.Sprintf("%s for %s after a renewal, and this node's vipd is set to %s", lease, l.Duration, own), Why: "two configurations share one lease: how long a dead holder goes unnoticed depends on who held the VIP",
			Mend: []string{"vipd's manifest, on each control-plane node: grep -A1 -e VIPD_PROFILE -e VIPD_LEASE_DURATION /etc/kubernetes/manifests/vipd.yaml", "during a roll-out of a new setting it is so, and ends with it"}})
	}
	return out, nil
}}

// stranger tells whether a name is that of no node, as far as that is known.
func (c *Cluster) stranger(name string) bool {
	return c.NodesKnown && len(c.Nodes) > 0 && !slices.ContainsFunc(c.Nodes, func(m Member) bool { return m.Name == name })
}

var nodeIPIsVIP = Check{ID: "D26", Title: "node address", Modes: Node, Look: func(ctx context.Context, c *Case) ([]Finding, error) {
	got, err := c.cluster(ctx)
	if err != nil || got == nil {
		return nil, err
	}
	var out []Finding
	for _, m := range got.Nodes {
		if !slices.Contains(m.InternalIPs, c.Facts.VIP) {
			continue
		}
		out = append(out, Finding{Severity: Warning, Seen: fmt.Sprintf("node %s has the VIP %s as its InternalIP", m.Name, c.Facts.VIP), Why: "kubelet took it for the node's own address: logs, exec and pod traffic of that node go to whichever node holds the VIP",
			Mend: []string{"in the KubeadmControlPlane, initConfiguration and joinConfiguration: nodeRegistration.kubeletExtraArgs with node-ip and the node's own address",
				"on " + m.Name + ", until then: add --node-ip=ADDRESS to KUBELET_KUBEADM_ARGS in /var/lib/kubelet/kubeadm-flags.env; systemctl restart kubelet"}})
	}
	return out, nil
}}

package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	rbacclient "k8s.io/client-go/kubernetes/typed/rbac/v1"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/lab"
)

// Fault is a real fault, and the expected result of the doctor.
type Fault struct {
	Name string
	// Title says what was done, Seen what a user notices.
	Title, Seen string
	// Make injects the fault, and returns where and how to run the doctor; undo repairs it.
	Make func(context.Context, *Site) (undo func(context.Context) error, on *lab.Host, args []string, err error)
	// Want are the expected findings, by ID and mark; others may follow from the fault, and may
	// differ between runs.
	Want []Found
	// Verdict is a part of the first sentence of the verdict.
	Verdict string
}

// Faults are all faults.
var Faults = []Fault{noGateway, firewall, stranger, noAPIServer, noRights, staleLease, kubeVip, nodeIP, otherDuration, orphan, otherCA, noAnnouncements}

// ByName returns the fault of that name.
func ByName(name string) (Fault, error) {
	for _, f := range Faults {
		if f.Name == name {
			return f, nil
		}
	}
	return Fault{}, fmt.Errorf("there is no fault %q", name)
}

// roles returns the holder and a standby.
func (s *Site) roles(ctx context.Context) (holder, standby *lab.Node, err error) {
	holder, err = failover.Ready(ctx, s.Lab)
	if err != nil {
		return nil, nil, err
	}
	for _, n := range s.Nodes {
		if n != holder {
			return holder, n, nil
		}
	}
	return nil, nil, errors.New("there is one node only")
}

var noGateway = Fault{
	Name: "gateway", Title: "The IP pool has no gateway: the node gets no default route.", Seen: "`ip route` shows no `default via`",
	Make: func(ctx context.Context, s *Site) (func(context.Context) error, *lab.Host, []string, error) {
		_, n, err := s.roles(ctx)
		if err != nil {
			return nil, nil, nil, err
		}
		_, err = n.Run(ctx, "ip", "route", "delete", "default")
		return func(context.Context) error { return n.AddDefaultRoute() }, n.Host, nil, err
	},
	Want: []Found{{ID: "D01"}}, Verdict: "neither Cluster API nor vipd",
}

var firewall = Fault{
	Name: "firewall", Title: "The holder's firewall rejects port 6443, as firewalld does.", Seen: "a worker cannot join: no route to host",
	Make: func(ctx context.Context, s *Site) (func(context.Context) error, *lab.Host, []string, error) {
		n, _, err := s.roles(ctx)
		if err != nil {
			return nil, nil, nil, err
		}
		_, err = n.Run(ctx, "nft", fmt.Sprintf("add table inet lab; add chain inet lab in { type filter hook input priority 10; }; "+
			"add rule inet lab in ip daddr %s tcp dport %d reject with icmp type admin-prohibited", s.VIP, lab.Port))
		undo := func(ctx context.Context) error {
			_, err := n.Run(ctx, "nft", "delete table inet lab")
			return err
		}
		return undo, s.Worker, s.AsWorker(), err
	},
	Want: []Found{{ID: "D14", Mark: "rejected"}}, Verdict: "A firewall rejects port 6443",
}

var stranger = Fault{
	Name: "stranger", Title: "Another machine has the VIP as its own address.", Seen: "the VIP answers only some clients, or only at times",
	Make: func(ctx context.Context, s *Site) (func(context.Context) error, *lab.Host, []string, error) {
		holder, n, err := s.roles(ctx)
		if err != nil {
			return nil, nil, nil, err
		}
		other := s.Clients[1]
		undo := func(context.Context) error {
			return errors.Join(other.RemoveAddress(s.VIP), newHolder(holder))
		}
		return undo, n.Host, nil, other.AddAddress(s.VIP)
	},
	Want: []Found{{ID: "D09", Mark: "several"}}, Verdict: "Another machine answers for the VIP",
}

var noAPIServer = Fault{
	Name: "apiserver", Title: "The API server of a node does not run.", Seen: "connection refused",
	Make: func(ctx context.Context, s *Site) (func(context.Context) error, *lab.Host, []string, error) {
		_, n, err := s.roles(ctx)
		if err != nil {
			return nil, nil, nil, err
		}
		_, err = n.APIServer.Kill()
		undo := func(ctx context.Context) error {
			return errors.Join(n.APIServer.Start(), n.WaitReady(ctx))
		}
		return undo, n.Host, nil, err
	},
	Want: []Found{{ID: "D16", Mark: "refused"}}, Verdict: "The VIP works, and the API server of this node does not",
}

var noRights = Fault{
	Name: "rights", Title: "The binding that lets vipd write the Lease is gone.", Seen: "nobody holds the VIP",
	Make: func(ctx context.Context, s *Site) (func(context.Context) error, *lab.Host, []string, error) {
		_, n, err := s.roles(ctx)
		if err != nil {
			return nil, nil, nil, err
		}
		config, err := n.RESTConfig("super-admin.conf")
		if err != nil {
			return nil, nil, nil, err
		}
		client, err := rbacclient.NewForConfig(config)
		if err != nil {
			return nil, nil, nil, err
		}
		bindings := client.ClusterRoleBindings()
		was, err := bindings.Get(ctx, "kubeadm:cluster-admins", metav1.GetOptions{})
		if err != nil {
			return nil, nil, nil, err
		}
		undo := func(ctx context.Context) error {
			was.ResourceVersion, was.UID = "", ""
			_, err := bindings.Create(ctx, was, metav1.CreateOptions{})
			return err
		}
		if err := bindings.Delete(ctx, was.Name, metav1.DeleteOptions{}); err != nil {
			return nil, nil, nil, err
		}
		return undo, n.Host, nil, s.nobody(ctx)
	},
	Want: []Found{{ID: "D17", Mark: "forbidden"}}, Verdict: "No node can take the VIP",
}

var staleLease = Fault{
	Name: "stale", Title: "No vipd runs, and the Lease names a machine that is gone.", Seen: "the Lease names a machine that is gone or unknown",
	Make: func(ctx context.Context, s *Site) (func(context.Context) error, *lab.Host, []string, error) {
		n := s.Nodes[0]
		for _, m := range s.Nodes {
			if _, err := lab.StopNow(m.Vipd, 5*time.Second); err != nil {
				return nil, nil, nil, err
			}
		}
		admin, err := os.ReadFile(n.Kubeconfig())
		if err != nil {
			return nil, nil, nil, err
		}
		remove, err := Put(n.Host, "kubernetes/admin.conf", admin)
		if err != nil {
			return nil, nil, nil, err
		}
		err = n.EditLease(ctx, func(l *coordinationv1.Lease) {
			holder, seconds, at := "cp-9", int32(3), metav1.NewMicroTime(time.Now().Add(-time.Hour))
			l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds, l.Spec.RenewTime = &holder, &seconds, &at
		})
		undo := func(context.Context) error { return errors.Join(remove(), failover.Start(s.Lab)) }
		return undo, n.Host, []string{"--address", s.VIP.String()}, errors.Join(err, s.nobody(ctx))
	},
	Want: []Found{{ID: "D18", Mark: "stale"}}, Verdict: "the holder of the Lease is gone",
}

var kubeVip = Fault{
	Name: "kube-vip", Title: "kube-vip's manifest was left behind.", Seen: "nobody holds the VIP",
	Make: func(ctx context.Context, s *Site) (func(context.Context) error, *lab.Host, []string, error) {
		_, n, err := s.roles(ctx)
		if err != nil {
			return nil, nil, nil, err
		}
		remove, err := Put(n.Host, "kubernetes/manifests/kube-vip.yaml", []byte(`{apiVersion: v1, kind: Pod, metadata: {name: kube-vip}, spec: {containers: [{name: kube-vip,
  image: "ghcr.io/kube-vip/kube-vip:v1.0.2", args: [manager], env: [{name: cp_enable, value: "true"}, {name: vip_arp, value: "true"}]}]}}`))
		return func(context.Context) error { return remove() }, n.Host, nil, err
	},
	Want: []Found{{ID: "D25"}}, Verdict: "kube-vip is still on this node",
}

var nodeIP = Fault{
	Name: "node-ip", Title: "kubelet took the VIP for the node's own address.", Seen: "INTERNAL-IP of a node is the VIP",
	Make: func(ctx context.Context, s *Site) (func(context.Context) error, *lab.Host, []string, error) {
		holder, n, err := s.roles(ctx)
		if err != nil {
			return nil, nil, nil, err
		}
		setIP := func(ctx context.Context, ip string) error {
			config, err := n.RESTConfig("admin.conf")
			if err != nil {
				return err
			}
			client, err := coreclient.NewForConfig(config)
			if err != nil {
				return err
			}
			object, err := holder.KubeNode(ctx)
			if err != nil {
				return err
			}
			object.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: ip}}
			_, err = client.Nodes().UpdateStatus(ctx, object, metav1.UpdateOptions{})
			return err
		}
		undo := func(ctx context.Context) error { return setIP(ctx, holder.IP.String()) }
		return undo, n.Host, nil, setIP(ctx, s.VIP.String())
	},
	Want: []Found{{ID: "D26"}}, Verdict: "Nothing is broken",
}

var otherDuration = Fault{
	Name: "duration", Title: "One node's vipd is set to another lease duration.", Seen: "a dead holder goes unnoticed for longer, sometimes",
	Make: func(ctx context.Context, s *Site) (func(context.Context) error, *lab.Host, []string, error) {
		_, n, err := s.roles(ctx)
		if err != nil {
			return nil, nil, nil, err
		}
		if _, err := n.Vipd.Stop(5 * time.Second); err != nil {
			return nil, nil, nil, err
		}
		undo := func(context.Context) error {
			_, err := n.Vipd.Stop(5 * time.Second)
			return errors.Join(err, n.StartVipd())
		}
		if err := n.StartVipd("--lease-duration", "5s"); err != nil {
			return undo, nil, nil, err
		}
		return undo, n.Host, nil, errors.Join(s.settle(ctx), s.shortLease(ctx))
	},
	Want: []Found{{ID: "D18", Mark: "duration"}}, Verdict: "Nothing is broken",
}

var orphan = Fault{
	Name: "orphan", Title: "A killed manager left the VIP behind on a node.", Seen: "the VIP answers only some clients, or only at times",
	Make: func(ctx context.Context, s *Site) (func(context.Context) error, *lab.Host, []string, error) {
		holder, n, err := s.roles(ctx)
		if err != nil {
			return nil, nil, nil, err
		}
		if _, err := n.Vipd.Stop(5 * time.Second); err != nil {
			return nil, nil, nil, err
		}
		undo := func(context.Context) error {
			return errors.Join(n.RemoveAddress(s.VIP), n.StartVipd(), newHolder(holder))
		}
		return undo, n.Host, []string{"--address", s.VIP.String()}, n.AddAddress(s.VIP)
	},
	Want: []Found{{ID: "D10", Mark: "no vipd"}}, Verdict: "a leftover copy of the VIP",
}

var otherCA = Fault{
	Name: "ca", Title: "What answers at the VIP has a certificate of another CA.", Seen: "x509: certificate signed by unknown authority",
	Make: func(_ context.Context, s *Site) (func(context.Context) error, *lab.Host, []string, error) {
		// Another CA of the same cluster, which did not sign the certificate either.
		return func(context.Context) error { return nil }, s.Worker, append(s.AsWorker(), "--ca", s.Nodes[0].PKI()+"/front-proxy-ca.crt"), nil
	},
	Want: []Found{{ID: "D15", Mark: "other CA"}}, Verdict: "Another cluster or another machine has the VIP",
}

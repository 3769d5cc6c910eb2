package kubeadm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// Bounds of the time in which the VIP is unreachable, as in package failover.
const (
	handedOver = 1500 * time.Millisecond
	ranOut     = 4500 * time.Millisecond
)

// podTimeout bounds the wait for a kubelet to make a pod anew: several syncFrequency.
const podTimeout = time.Minute

// Joins are the steps that complete the cluster, observed like faults. While etcd adds a
// member, it may write nothing for longer than a lease. So the only promise of the join of a
// control-plane node is that two nodes never answer.
func (c *Cluster) Joins() []failover.Fault {
	join := func(name string) failover.Fault {
		p := record.Promise{Name: name, Title: "kubeadm join of a control-plane node", MayMove: true}
		return failover.New(p, func(ctx context.Context, _ *lab.Node) error { return c.Join(ctx) }, nil)
	}
	worker := record.Promise{Name: "joinworker", Title: "kubeadm join of a worker", MayFail: true}
	return []failover.Fault{
		join("join2"), join("join3"),
		failover.New(worker, func(ctx context.Context, _ *lab.Node) error { return c.JoinWorker(ctx) }, nil),
	}
}

// Faults are the faults of kubelet and kubeadm, for a cluster that is complete.
func (c *Cluster) Faults() []failover.Fault {
	return []failover.Fault{
		// Kubelet makes the mirror pod anew, and leaves the static pod alone.
		c.fault(record.Promise{Name: "poddeleted", Title: "pod deleted in the API"}, c.deletePod, nil),
		c.fault(record.Promise{Name: "kubeletstopped", Title: "kubelet stopped"}, stopKubelet, startKubelet),
		c.fault(record.Promise{Name: "addressrenewed", Title: "own address removed and added, kubelet restarted", Flickers: true, Within: handedOver}, c.renewAddress, nil),
		// Kubelet starts it again, which may be in time to go on.
		c.fault(record.Promise{Name: "containerkilled", Title: "SIGKILL to vipd's container", MayMove: true, Crippled: true, Within: ranOut}, killContainer, nil),
		c.fault(record.Promise{Name: "manifestedited", Title: "manifest edited in place", Moves: true, Within: handedOver}, editManifest, nil),
		// As an in-place update of a KubeadmControlPlane's files does at worst: all vipds are told to end
		// at the same time, and the one with the VIP waits for another one to start.
		c.fault(record.Promise{Name: "manifestseverywhere", Title: "manifest edited in place on all nodes at once", MayMove: true, Within: handedOver}, c.editManifests, nil),
		// It removes the etcd member before the pods. While etcd elects a new leader nothing can
		// be released.
		c.fault(record.Promise{Name: "reset", Title: "kubeadm reset", Moves: true, Crippled: true, Within: ranOut}, reset, c.joinAgain),
	}
}

// fault makes a fault that needs the machine of the holder.
func (c *Cluster) fault(p record.Promise, inject, heal func(context.Context, *Node) error) failover.Fault {
	on := func(do func(context.Context, *Node) error) func(context.Context, *lab.Node) error {
		if do == nil {
			return nil
		}
		return func(ctx context.Context, n *lab.Node) error { return do(ctx, c.node(n)) }
	}
	return failover.New(p, on(inject), on(heal))
}

// deletePod deletes the pod as `kubectl delete pod` does, and waits for its successor.
func (c *Cluster) deletePod(ctx context.Context, n *Node) error {
	name := "vipd-" + n.Name
	return c.other(n).withAPI(func(core *coreclient.CoreV1Client) error {
		before, err := core.Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if err := core.Pods(namespace).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			return err
		}
		short, cancel := context.WithTimeout(ctx, podTimeout)
		defer cancel()
		err = wait.Until(short, 100*time.Millisecond, func() (bool, error) {
			now, err := core.Pods(namespace).Get(short, name, metav1.GetOptions{})
			return err == nil && now.UID != before.UID, nil
		})
		if err != nil {
			return fmt.Errorf("wait for another pod %s: %w", name, err)
		}
		return wait.For(ctx, failover.PastLease)
	})
}

func stopKubelet(ctx context.Context, n *Node) error {
	if _, err := n.Kubelet.Kill(); err != nil {
		return err
	}
	return wait.For(ctx, failover.PastLease)
}

func startKubelet(ctx context.Context, n *Node) error {
	if n.Kubelet.Running() {
		return nil
	}
	return n.StartKubelet(ctx)
}

// renewAddress removes the node's own address and adds it again, as a renewed DHCP lease and
// `netplan apply` do, and starts a kubelet that takes the first address of the interface for the node's
// own: without --node-ip, and with a name that leads to loopback, as Debian's installer writes it.
func (c *Cluster) renewAddress(ctx context.Context, n *Node) error {
	batch := fmt.Sprintf("address del %[1]s/24 dev %[2]s\naddress add %[1]s/24 dev %[2]s\nroute replace default via 192.168.35.1 dev %[2]s\n", n.IP, lab.Interface)
	if _, err := n.Run(ctx, "sh", "-c", "printf '%s' \"$1\" | ip -batch -", "sh", batch); err != nil {
		return err
	}
	short, cancel := context.WithTimeout(ctx, podTimeout)
	defer cancel()
	err := wait.Until(short, 10*time.Millisecond, func() (bool, error) {
		all, err := n.Addresses()
		return len(all) > 0 && all[0] == n.IP, err
	})
	if err != nil {
		return fmt.Errorf("wait until the VIP is behind the address of %s: %w", n.Name, err)
	}
	if _, err := n.Kubelet.Kill(); err != nil {
		return err
	}
	return c.other(n).withAPI(func(core *coreclient.CoreV1Client) error {
		if err := forgetAddresses(short, core, n.Name); err != nil {
			return err
		}
		if err := n.StartKubelet(ctx); err != nil {
			return err
		}
		return wait.Until(short, 100*time.Millisecond, func() (bool, error) {
			node, err := core.Nodes().Get(short, n.Name, metav1.GetOptions{})
			if err != nil {
				return false, nil //nolint:nilerr // the API server of a node may be busy
			}
			return hasInternalIP(node, n.IP.String())
		})
	})
}

// forgetAddresses removes the addresses from a Node, so that its kubelet writes them anew: a kubelet
// writes what has changed.
func forgetAddresses(ctx context.Context, core *coreclient.CoreV1Client, name string) error {
	node, err := core.Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	node.Status.Addresses = nil
	_, err = core.Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{})
	return err
}

// hasInternalIP tells whether a Node has an internal address. Another one than want is an error.
func hasInternalIP(node *corev1.Node, want string) (found bool, err error) {
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP && a.Address != want {
			return false, fmt.Errorf("the kubelet of %s takes %s for the node's address, want %s", node.Name, a.Address, want)
		}
		found = found || a.Type == corev1.NodeInternalIP
	}
	return found, nil
}

// killContainer kills vipd, which the kubelet starts again.
func killContainer(ctx context.Context, n *Node) error {
	if err := n.crash("vipd"); err != nil {
		return err
	}
	return wait.For(ctx, failover.PastLease)
}

// editManifest changes the manifest of vipd, which kubelet answers with the end of the pod
// and another one.
func editManifest(_ context.Context, n *Node) error {
	text, err := os.ReadFile(n.disk(manifest))
	if err != nil {
		return err
	}
	edited := bytes.Replace(text, []byte("terminationGracePeriodSeconds: 30"), []byte("terminationGracePeriodSeconds: 31"), 1)
	if bytes.Equal(edited, text) { // it was edited before
		edited = bytes.Replace(text, []byte("terminationGracePeriodSeconds: 31"), []byte("terminationGracePeriodSeconds: 30"), 1)
	}
	if bytes.Equal(edited, text) {
		return errors.New("nothing to edit in the manifest")
	}
	return n.write(manifest, edited)
}

// editManifests changes the manifest on all nodes, and waits for all new pods: a kubelet may take ten
// seconds for its own.
func (c *Cluster) editManifests(ctx context.Context, _ *Node) error {
	before := make(map[*Node]int)
	for _, n := range c.Nodes {
		before[n] = n.Lab.Vipd.Pid()
	}
	for _, n := range c.Nodes {
		if err := editManifest(ctx, n); err != nil {
			return err
		}
	}
	short, cancel := context.WithTimeout(ctx, podTimeout)
	defer cancel()
	for n, pid := range before {
		err := wait.Until(short, 100*time.Millisecond, func() (bool, error) {
			now := n.Lab.Vipd.Pid()
			return now != 0 && now != pid, nil
		})
		if err != nil {
			return fmt.Errorf("wait for the kubelet of %s to start vipd: %w", n.Name, err)
		}
	}
	return nil
}

// reset is `kubeadm reset`, which has systemd stop kubelet before it removes the
// node's pods. There is none here, so kubelet is stopped first.
func reset(ctx context.Context, n *Node) error {
	if _, err := n.Kubelet.Kill(); err != nil {
		return err
	}
	_, err := n.Run(ctx, "kubeadm", "reset", "--force", "--cri-socket", "unix:///run/containerd/containerd.sock")
	return err
}

// joinAgain joins a node that was reset. kubeadm wants its Node object to be deleted
// before, which is what people do who remove a node.
func (c *Cluster) joinAgain(ctx context.Context, n *Node) error {
	err := c.other(n).withAPI(func(core *coreclient.CoreV1Client) error {
		return core.Nodes().Delete(ctx, n.Name, metav1.DeleteOptions{})
	})
	if err != nil {
		return fmt.Errorf("delete node %s: %w", n.Name, err)
	}
	if err := n.Kubelet.Start(); err != nil { // it waits for kubeadm
		return err
	}
	return c.join(ctx, n)
}

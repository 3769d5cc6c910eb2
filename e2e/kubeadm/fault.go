package kubeadm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/vipd-io/vipd/e2e/record"
	"github.com/vipd-io/vipd/e2e/wait"
)

// A Fault is what happens to the node that has the VIP, or to its pod.
type Fault struct {
	record.Promise
	// Last: the cluster is not whole any more after it.
	Last bool

	inject func(context.Context, *trial) error
	heal   func(context.Context, *trial) error
}

// Bounds of the time in which the VIP is unreachable, as in package failover.
const (
	handedOver = 1500 * time.Millisecond
	ranOut     = 4500 * time.Millisecond
)

// watchFor is longer than a lease: nothing is to come of the fault.
const watchFor = 5 * time.Second

// Faults are all of them, in the order in which they can be tried: the first make the
// cluster whole.
var Faults = []Fault{
	join("join2"), join("join3"),
	{
		Promise: record.Promise{Name: "joinworker", Title: "kubeadm join of a worker", MayFail: true},
		inject:  func(ctx context.Context, t *trial) error { return t.cluster.JoinWorker(ctx) },
	},
	{
		// Kubelet makes the mirror pod anew, and leaves the static pod alone.
		Promise: record.Promise{Name: "poddeleted", Title: "pod deleted in the API"},
		inject:  deletePod,
	},
	{
		Promise: record.Promise{Name: "kubeletstopped", Title: "kubelet stopped"},
		inject: func(ctx context.Context, t *trial) error {
			if _, err := t.holder.Kubelet.Kill(); err != nil {
				return err
			}
			return wait.For(ctx, watchFor)
		},
		heal: startKubelet,
	},
	{
		// Kubelet starts it again, which may be in time to go on.
		Promise: record.Promise{Name: "containerkilled", Title: "SIGKILL to vipd's container", MayMove: true, Crippled: true, Within: ranOut},
		inject: func(ctx context.Context, t *trial) error {
			id, err := t.holder.container(ctx, "vipd")
			if err == nil {
				_, err = t.holder.ctr(ctx, "tasks", "kill", "--signal", "SIGKILL", id)
			}
			return errors.Join(err, wait.For(ctx, watchFor))
		},
	},
	{
		Promise: record.Promise{Name: "manifestedited", Title: "manifest edited in place", Moves: true, Within: handedOver},
		inject:  editManifest,
	},
	{
		// It removes the etcd member before the pods. While etcd elects a new leader nothing can
		// be released.
		Promise: record.Promise{Name: "reset", Title: "kubeadm reset", Moves: true, Crippled: true, Within: ranOut},
		inject:  reset,
		heal:    joinAgain,
	},
	{
		Promise: record.Promise{Name: "poweroff", Title: "power-off", Moves: true, Crippled: true, Within: ranOut},
		Last:    true,
		inject: func(_ context.Context, t *trial) error {
			_, err := t.holder.Lab.CutPower()
			return err
		},
	},
}

// join adds a control-plane node. While etcd takes a member in, it may write nothing
// for longer than a lease, so nothing is promised but that two never answer.
func join(name string) Fault {
	return Fault{
		Promise: record.Promise{Name: name, Title: "kubeadm join of a control-plane node", MayMove: true},
		inject:  func(ctx context.Context, t *trial) error { return t.cluster.Join(ctx) },
	}
}

// deletePod deletes the pod as `kubectl delete pod` does, and waits for its successor.
func deletePod(ctx context.Context, t *trial) error {
	name := "vipd-" + t.holder.Name
	return t.cluster.other(t.holder).withAPI(func(core *coreclient.CoreV1Client) error {
		before, err := core.Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if err := core.Pods(namespace).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			return err
		}
		short, cancel := context.WithTimeout(ctx, moveTimeout)
		defer cancel()
		err = wait.Until(short, 100*time.Millisecond, func() (bool, error) {
			now, err := core.Pods(namespace).Get(short, name, metav1.GetOptions{})
			return err == nil && now.UID != before.UID, nil
		})
		if err != nil {
			return fmt.Errorf("wait for another pod %s: %w", name, err)
		}
		return wait.For(ctx, watchFor)
	})
}

// editManifest changes an environment variable of vipd, which kubelet answers with
// the end of the pod and another one.
func editManifest(_ context.Context, t *trial) error {
	text, err := os.ReadFile(t.holder.disk(manifest))
	if err != nil {
		return err
	}
	edited := bytes.Replace(text, []byte("terminationGracePeriodSeconds: 10"), []byte("terminationGracePeriodSeconds: 11"), 1)
	if bytes.Equal(edited, text) {
		return errors.New("nothing to edit in the manifest")
	}
	return t.holder.write(manifest, edited)
}

// reset is `kubeadm reset`, which has systemd stop kubelet before it removes the
// node's pods. There is none here, so kubelet is stopped first.
func reset(ctx context.Context, t *trial) error {
	if _, err := t.holder.Kubelet.Kill(); err != nil {
		return err
	}
	_, err := t.holder.Run(ctx, "kubeadm", "reset", "--force", "--cri-socket", "unix:///run/containerd/containerd.sock")
	return err
}

// joinAgain joins a node that was reset. kubeadm wants its Node object to be deleted
// before, which is what people do who remove a node.
func joinAgain(ctx context.Context, t *trial) error {
	err := t.cluster.other(t.holder).withAPI(func(core *coreclient.CoreV1Client) error {
		return core.Nodes().Delete(ctx, t.holder.Name, metav1.DeleteOptions{})
	})
	if err != nil {
		return fmt.Errorf("delete node %s: %w", t.holder.Name, err)
	}
	if err := startKubelet(ctx, t); err != nil {
		return err
	}
	return t.cluster.join(ctx, t.holder)
}

func startKubelet(_ context.Context, t *trial) error {
	if t.holder.Kubelet.Running() {
		return nil
	}
	return t.holder.Kubelet.Start()
}

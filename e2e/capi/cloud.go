package capi

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// CloudController stands in for the cloud controller of vSphere: it tells a cluster which machine each
// of its nodes is.
type CloudController struct {
	VCenter VCenter
	// Client returns a client of the cluster, and an error as long as there is none.
	Client func(context.Context) (kubernetes.Interface, error)
}

// uninitialized is the taint of a node that the cloud controller does not know yet.
const uninitialized = "node.cloudprovider.kubernetes.io/uninitialized"

// Run looks at the nodes each second until ctx ends. A cluster that does not answer is asked again.
func (c *CloudController) Run(ctx context.Context) {
	for {
		_ = c.look(ctx) // at the next look
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return
		}
	}
}

func (c *CloudController) look(ctx context.Context) error {
	client, err := c.Client(ctx)
	if err != nil {
		return err
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	all, err := c.VCenter.Machines(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes.Items {
		i := slices.IndexFunc(all, func(vm VM) bool { return vm.Name == n.Name })
		if i < 0 || n.Spec.ProviderID != "" {
			continue
		}
		if err := initialize(ctx, client, n, all[i]); err != nil {
			return fmt.Errorf("initialize node %s: %w", n.Name, err)
		}
	}
	return nil
}

// initialize sets the addresses of a node, which kubelet leaves to the cloud controller, and its
// identity, and removes only the taint that says that both are missing: Cluster API waits for others.
func initialize(ctx context.Context, client kubernetes.Interface, n corev1.Node, vm VM) error {
	addresses := []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: n.Name}, {Type: corev1.NodeInternalIP, Address: vm.Address}}
	status, err := json.Marshal(map[string]any{"status": map[string]any{"addresses": addresses}})
	if err != nil {
		return err
	}
	now, err := client.CoreV1().Nodes().Patch(ctx, n.Name, types.MergePatchType, status, metav1.PatchOptions{}, "status")
	if err != nil {
		return err
	}
	now.Spec.ProviderID = "vsphere://" + vm.UUID
	now.Spec.Taints = slices.DeleteFunc(now.Spec.Taints, func(t corev1.Taint) bool { return t.Key == uninitialized })
	// Not by a patch: kubeadm may set its own taint at this moment, and is not to be overtaken.
	_, err = client.CoreV1().Nodes().Update(ctx, now, metav1.UpdateOptions{})
	return err
}

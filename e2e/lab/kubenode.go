package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
)

// ControlPlaneLabel is the label of every control-plane node that kubeadm set up.
const ControlPlaneLabel = "node-role.kubernetes.io/control-plane"

// cordonTimeout bounds the attempt through one API server, which may be paused; then the next one
// is tried.
const cordonTimeout = 2 * time.Second

// registerNodes creates the Node objects in place of kubelets. It uses super-admin, which every API
// server permits at once: a new binding reaches the other servers a moment later.
func (l *Lab) registerNodes(ctx context.Context) error {
	config, err := l.Nodes[0].RESTConfig("super-admin.conf")
	if err != nil {
		return err
	}
	client, err := coreclient.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	defer closeIdle(client.RESTClient())
	for _, n := range l.Nodes {
		if err := createNode(ctx, client.Nodes(), n.Name, n.IP); err != nil {
			return fmt.Errorf("register node %s: %w", n.Name, err)
		}
	}
	return nil
}

// createNode creates the object of a control-plane node and then, as the API requires, sets its
// status.
func createNode(ctx context.Context, nodes coreclient.NodeInterface, name string, ip netip.Addr) error {
	object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{ControlPlaneLabel: "", corev1.LabelHostname: name},
	}}
	object, err := nodes.Create(ctx, object, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	object.Status.Addresses = []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: ip.String()},
		{Type: corev1.NodeHostName, Address: name},
	}
	_, err = nodes.UpdateStatus(ctx, object, metav1.UpdateOptions{})
	return err
}

// KubeNode reads the node's Node object through its own API server.
func (n *Node) KubeNode(ctx context.Context) (*corev1.Node, error) {
	nodes, err := n.kubeNodes()
	if err != nil {
		return nil, err
	}
	object, err := nodes.Get(ctx, n.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("get node %s: %w", n.Name, err)
	}
	return object, nil
}

// Cordon runs `kubectl cordon` or, with on false, `kubectl uncordon`, through the node's own API
// server or, if that does not answer, another node's.
func (n *Node) Cordon(ctx context.Context, on bool) error {
	patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, on)
	others := slices.DeleteFunc(slices.Clone(n.lab.Nodes), func(m *Node) bool { return m == n })
	var errs []error
	for _, via := range append([]*Node{n}, others...) {
		err := via.patchNode(ctx, n.Name, patch)
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("through %s: %w", via.Name, err))
		if apierrors.IsNotFound(err) || ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("set node %s unschedulable=%t: %w", n.Name, on, errors.Join(errs...))
}

func (n *Node) patchNode(ctx context.Context, name string, patch []byte) error {
	nodes, err := n.kubeNodes()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cordonTimeout)
	defer cancel()
	_, err = nodes.Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	return err
}

// kubeNodes returns a client of the Node objects through this node's API server.
func (n *Node) kubeNodes() (coreclient.NodeInterface, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.core == nil {
		config, err := n.RESTConfig("admin.conf")
		if err != nil {
			return nil, err
		}
		if n.core, err = coreclient.NewForConfig(config); err != nil {
			return nil, fmt.Errorf("make client: %w", err)
		}
	}
	return n.core.Nodes(), nil
}

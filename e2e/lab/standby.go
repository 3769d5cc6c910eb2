package lab

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AddHost plugs one more machine into the switch: Subnet's address that ends in
// lastByte, and no control plane. It ends with the lab.
func (l *Lab) AddHost(name string, lastByte byte) (*Host, error) {
	h, err := l.makeHost(name, lastByte)
	if err != nil {
		return nil, fmt.Errorf("add host %s: %w", name, err)
	}
	l.added = append(l.added, h)
	return h, nil
}

// NewVipd prepares a vipd beside the nodes' own: on a machine without a control
// plane, which names one as its own with --apiserver, or for another address.
func (l *Lab) NewVipd(h *Host, name string, vip netip.Addr, flags ...string) *Process {
	first := l.Nodes[0]
	argv := []string{
		first.vipdBinary, "run",
		"--interface", Interface,
		"--address", vip.String(),
		"--port", strconv.Itoa(Port),
		"--node-name", h.Name,
		"--kubeconfig", first.Kubeconfig(),
		"--lease-duration", "3s",
		"--log-format", "json",
	}
	return l.NewProcess(h, name, append(argv, flags...)...)
}

// AddControlPlane makes the cluster believe in one more control-plane node, whose
// API server is at the given address: every vipd then looks after that, too.
func (l *Lab) AddControlPlane(ctx context.Context, name string, server netip.Addr) error {
	nodes, err := l.Nodes[0].kubeNodes()
	if err != nil {
		return err
	}
	object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{ControlPlaneLabel: ""}}}
	object, err = nodes.Create(ctx, object, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("add control plane %s: %w", name, err)
	}
	object.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: server.String()}}
	if _, err := nodes.UpdateStatus(ctx, object, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("add control plane %s: %w", name, err)
	}
	return nil
}

package lab_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/vipd-io/vipd/e2e/lab"
)

func TestNodeObjects(t *testing.T) {
	ctx := within(t, 10*time.Second)
	for _, n := range shared.Nodes {
		object, err := n.KubeNode(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := object.Labels[lab.ControlPlaneLabel]; !ok || object.Spec.Unschedulable {
			t.Errorf("%s: labels %v, unschedulable %t", n.Name, object.Labels, object.Spec.Unschedulable)
		}
		want := []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: n.IP.String()}, {Type: corev1.NodeHostName, Address: n.Name}}
		if diff := cmp.Diff(want, object.Status.Addresses); diff != "" {
			t.Errorf("addresses of %s (-want +got):\n%s", n.Name, diff)
		}
	}
}

// A node is cordoned through its own API server and, while that hangs, through another one.
func TestCordon(t *testing.T) {
	ctx := within(t, 20*time.Second)
	n := shared.Nodes[1]
	if err := n.Cordon(ctx, true); err != nil {
		t.Fatal(err)
	}
	if object, err := n.KubeNode(ctx); err != nil || !object.Spec.Unschedulable {
		t.Errorf("cordoned: unschedulable %t, %v", object.Spec.Unschedulable, err)
	}
	if _, err := n.APIServer.Pause(); err != nil {
		t.Fatal(err)
	}
	err := n.Cordon(ctx, false)
	if _, err := n.APIServer.Resume(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Error(err)
	}
	if object, err := n.KubeNode(ctx); err != nil || object.Spec.Unschedulable {
		t.Errorf("uncordoned: unschedulable %t, %v", object.Spec.Unschedulable, err)
	}
}

// Nodes forward, as kubeadm requires, and clients do not.
func TestForwarding(t *testing.T) {
	hosts := map[*lab.Host]string{shared.Clients[0]: "0"}
	for _, n := range shared.Nodes {
		hosts[n.Host] = "1"
	}
	for h, want := range hosts {
		var got []byte
		err := h.NS.Do(func() (err error) { got, err = os.ReadFile("/proc/sys/net/ipv4/ip_forward"); return err })
		if err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s: ip_forward is %q, %v, want %s", h.Name, got, err, want)
		}
	}
}

package capi_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// notReachable is what CAPV and Cluster API log, word for word, as long as nobody has the VIP.
const notReachable = `cluster is not reachable: Get \"https://192.168.35.100:6443/?timeout=5s\": dial tcp 192.168.35.100:6443: connect: no route to host`

// TestLoopNotReachable: the IP pool has no gateway, so kubeadm stops on the first node, and nobody has the
// VIP. CAPV and Cluster API say that the cluster is not reachable. The doctor says in the network of the
// management cluster that nobody answers, and in its objects why. With that remedy, as it is, Cluster
// API reaches the cluster.
func TestLoopNotReachable(t *testing.T) {
	if !*flagLoop {
		return
	}
	l := newLoop(t)
	objects := clusterOf(t, l.ns)
	unstructured.RemoveNestedField(objects[poolKind].Object, "spec", "gateway")
	objects["KubeadmControlPlane"].Object["spec"].(object)["replicas"] = int64(1)
	createCluster(t, objects)
	if g := applied(t, l.hypervisor, ""); g.Err == nil {
		t.Fatalf("kubeadm succeeded without a default route:\n%s", g.Output)
	}
	for _, program := range []string{"capv", "capi-core"} {
		awaitLog(t, program, l.ns, notReachable)
	}
	if d := runDoctor(t, nil, "--worker", "--address", vip, "--only", "D14"); !slices.Contains(d.found, "D14 nobody") {
		t.Errorf("the doctor in the network of the management cluster finds %q", d.found)
	}
	d := diagnose(t, management.Kubeconfig(), l.ns, dnsName)
	apply(t, d.remedy["D11 no gateway"])
	l.await(t, "Cluster API reaches the cluster", 10*time.Minute, func() error { return l.connected(t) })
	l.await(t, "the first control-plane node", 5*time.Minute, func() error { return l.controlPlane(t, 1) })
	l.deleteCluster(t)
}

// connected returns an error unless Cluster API reaches the cluster.
func (l *loop) connected(t *testing.T) error {
	t.Helper()
	u := l.object("cluster.x-k8s.io", "Cluster")
	if err := management.Client.Get(t.Context(), client.ObjectKey{Namespace: l.ns, Name: uat}, u); err != nil {
		return err
	}
	conditions, _, err := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range conditions {
		if c, ok := c.(object); ok && c["type"] == "RemoteConnectionProbe" {
			if c["status"] == "True" {
				return nil
			}
			return fmt.Errorf("%v: %v", c["reason"], c["message"])
		}
	}
	return errors.Join(errors.New("the Cluster has no condition RemoteConnectionProbe"), err)
}

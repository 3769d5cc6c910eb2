package capi_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/vipd-io/vipd/e2e/capi"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

var flagLoop = flag.Bool("loop", false, "run the loop of Cluster API, which takes a quarter of an hour")

// A loop is a cluster whose machines the real controllers make and replace.
type loop struct {
	ns         string
	lab        *lab.Lab
	hypervisor *capi.Hypervisor
}

// TestLoop walks a cluster through its life, and observes the VIP in each step.
func TestLoop(t *testing.T) {
	if !*flagLoop {
		return
	}
	l := newLoop(t)
	l.firstNode(t)
	l.step(t, "two workers join through the VIP", 5*time.Minute, func() { create(t, testdata(t, "workers.yaml", l.ns)...) },
		func() error { return l.ready(t, "cluster.x-k8s.io", "MachineDeployment", "uat-workers", 2) })
	l.step(t, "a change of files replaces the only control-plane node", 10*time.Minute, func() { l.changeFiles(t) },
		func() error { return errors.Join(l.controlPlane(t, 1), l.upToDate(t)) })
	l.step(t, "1 to 3 control-plane nodes", 10*time.Minute, func() { l.scale(t, 3) }, func() error { return l.controlPlane(t, 3) })
	l.step(t, "the holder's Machine is deleted", 10*time.Minute, func() { l.deleteHolder(t) }, func() error { return l.controlPlane(t, 3) })
	l.step(t, "the holder breaks, and a MachineHealthCheck replaces it", 15*time.Minute, func() { l.breakHolder(t) }, func() error { return l.controlPlane(t, 3) })
	l.step(t, "3 to 1 control-plane nodes", 10*time.Minute, func() { l.scale(t, 1) }, func() error { return l.controlPlane(t, 1) })
	l.deleteCluster(t)
}

func newLoop(t *testing.T) *loop {
	t.Helper()
	l := &loop{ns: newNamespace(t)}
	l.lab, l.hypervisor = newHypervisor(t, l.ns)
	if err := l.lab.PlugSelf(250); err != nil {
		t.Fatal(err)
	}
	objects := clusterOf(t, l.ns)
	objects["KubeadmControlPlane"].Object["spec"].(object)["replicas"] = int64(1)
	createCluster(t, objects)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	cloud := capi.CloudController{VCenter: management.VCenter, Client: func(ctx context.Context) (kubernetes.Interface, error) { return l.client(ctx) }}
	go func() { defer close(done); cloud.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return l
}

// client returns a client of the cluster, by the VIP.
func (l *loop) client(ctx context.Context) (kubernetes.Interface, error) {
	var s corev1.Secret
	if err := management.Client.Get(ctx, client.ObjectKey{Namespace: l.ns, Name: "uat-kubeconfig"}, &s); err != nil {
		return nil, err
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(s.Data["value"])
	if err != nil {
		return nil, err
	}
	config.Timeout = 3 * time.Second
	return kubernetes.NewForConfig(config)
}

// firstNode waits for the first node.
func (l *loop) firstNode(t *testing.T) {
	t.Helper()
	began := time.Now()
	l.await(t, "the first control-plane node", 5*time.Minute, func() error { return l.controlPlane(t, 1) })
	t.Logf("the first control-plane node: %.0f s", time.Since(began).Seconds())
}

// await waits until check returns no error.
func (l *loop) await(t *testing.T, what string, limit time.Duration, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var last error
	err := wait.Until(ctx, 500*time.Millisecond, func() (bool, error) {
		if now := check(); fmt.Sprint(now) != fmt.Sprint(last) {
			last = now
			t.Logf("%s: %v", what, now)
		}
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("%s: %v (last: %v)", what, err, last)
	}
}

func (l *loop) object(group, kind string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: group, Version: "v1beta2", Kind: kind})
	u.SetNamespace(l.ns)
	return u
}

// ready returns an error unless an object has exactly n replicas, all of them ready.
func (l *loop) ready(t *testing.T, group, kind, name string, n int64) error {
	t.Helper()
	u := l.object(group, kind)
	if err := management.Client.Get(t.Context(), client.ObjectKey{Namespace: l.ns, Name: name}, u); err != nil {
		return err
	}
	all, _, _ := unstructured.NestedInt64(u.Object, "status", "replicas")
	ready, _, _ := unstructured.NestedInt64(u.Object, "status", "readyReplicas")
	if all != n || ready != n {
		return fmt.Errorf("%d of %d replicas are ready, want %d", ready, all, n)
	}
	return nil
}

const controlPlaneGroup = "controlplane.cluster.x-k8s.io"

func (l *loop) controlPlane(t *testing.T, n int64) error {
	t.Helper()
	return l.ready(t, controlPlaneGroup, "KubeadmControlPlane", "uat", n)
}

// upToDate returns an error unless all machines of the control plane are of the present generation.
func (l *loop) upToDate(t *testing.T) error {
	t.Helper()
	u := get(t, l.ns, "uat")
	seen, _, _ := unstructured.NestedInt64(u.Object, "status", "observedGeneration")
	all, _, _ := unstructured.NestedInt64(u.Object, "status", "replicas")
	updated, _, _ := unstructured.NestedInt64(u.Object, "status", "upToDateReplicas")
	if seen != u.GetGeneration() || all != updated {
		return fmt.Errorf("generation %d of %d, %d of %d replicas are up to date", seen, u.GetGeneration(), updated, all)
	}
	return nil
}

func (l *loop) scale(t *testing.T, n int) {
	t.Helper()
	u := l.object(controlPlaneGroup, "KubeadmControlPlane")
	u.SetName("uat")
	if err := management.Client.Patch(t.Context(), u, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, n))); err != nil {
		t.Fatal(err)
	}
}

// changeFiles changes the files of the control plane's machines.
func (l *loop) changeFiles(t *testing.T) {
	t.Helper()
	u := l.object(controlPlaneGroup, "KubeadmControlPlane")
	u.SetName("uat")
	add := `[{"op":"add","path":"/spec/kubeadmConfigSpec/files/-","value":{"path":"/etc/motd","content":"hello\n"}}]`
	if err := management.Client.Patch(t.Context(), u, client.RawPatch(types.JSONPatchType, []byte(add))); err != nil {
		t.Fatal(err)
	}
}

// deleteHolder deletes the Machine of the node that holds the VIP, and waits until its virtual machine
// is gone.
func (l *loop) deleteHolder(t *testing.T) {
	t.Helper()
	name := l.lease(t).holder
	u := l.object("cluster.x-k8s.io", "Machine")
	u.SetName(name)
	if err := management.Client.Delete(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	l.gone(t, name)
}

// breakHolder breaks the machine that holds the VIP, and waits until Cluster API has replaced it.
func (l *loop) breakHolder(t *testing.T) {
	t.Helper()
	create(t, testdata(t, "healthcheck.yaml", l.ns)...)
	name := l.lease(t).holder
	if err := l.hypervisor.Break(name); err != nil {
		t.Fatal(err)
	}
	l.gone(t, name)
}

// gone waits until a machine is not in the vCenter any more.
func (l *loop) gone(t *testing.T, name string) {
	t.Helper()
	l.await(t, "the machine of "+name+" is gone", 10*time.Minute, func() error {
		all, err := management.VCenter.Machines(t.Context())
		if slices.ContainsFunc(all, func(vm capi.VM) bool { return vm.Name == name }) {
			return errors.New("the machine is there")
		}
		return err
	})
}

// deleteCluster deletes the cluster: no machine and no address is left.
func (l *loop) deleteCluster(t *testing.T) {
	t.Helper()
	u := l.object("cluster.x-k8s.io", "Cluster")
	u.SetName("uat")
	if err := management.Client.Delete(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	l.await(t, "the cluster is deleted", 10*time.Minute, func() error {
		if err := management.Client.Get(t.Context(), client.ObjectKey{Namespace: l.ns, Name: "uat"}, u); !apierrors.IsNotFound(err) {
			return errors.Join(errors.New("the Cluster is there"), err)
		}
		return nil
	})
	addresses := &unstructured.UnstructuredList{}
	addresses.SetGroupVersionKind(schema.GroupVersionKind{Group: "ipam.cluster.x-k8s.io", Version: "v1beta2", Kind: "IPAddressList"})
	l.await(t, "all addresses are free", time.Minute, func() error {
		if err := management.Client.List(t.Context(), addresses, client.InNamespace(l.ns)); err != nil || len(addresses.Items) > 0 {
			return errors.Join(fmt.Errorf("%d addresses are allocated", len(addresses.Items)), err)
		}
		return nil
	})
	if on := l.hypervisor.Guests(); len(on) > 0 {
		t.Errorf("%d machines are on", len(on))
	}
}

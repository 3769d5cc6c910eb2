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
	names      *lab.NameServer
	idle       gaps // when nothing happens
}

// TestLoop walks a cluster through its life, and observes the VIP in each step.
func TestLoop(t *testing.T) {
	if !*flagLoop {
		return
	}
	l := newLoop(t)
	l.create(t)
	l.baseline(t)
	l.step(t, "two workers join, one by the VIP's address and one by its name", 5*time.Minute, stays, func() { l.addWorkers(t) }, func() error { return l.workers(t, 2) })
	l.step(t, "a change of files replaces the only control-plane node", 10*time.Minute, drainsOne, func() { l.changeFiles(t) },
		func() error { return errors.Join(l.controlPlane(t, 1), l.upToDate(t)) })
	l.step(t, "1 to 3 control-plane nodes", 10*time.Minute, stays, func() { l.scale(t, 3) }, func() error { return l.controlPlane(t, 3) })
	l.step(t, "the holder's Machine is deleted", 10*time.Minute, drainsOne, func() { l.deleteHolder(t) }, func() error { return l.controlPlane(t, 3) })
	l.step(t, "the holder breaks, and a MachineHealthCheck replaces it", 15*time.Minute, breaks, func() { l.breakHolder(t) }, func() error { return l.controlPlane(t, 3) })
	l.step(t, "3 to 1 control-plane nodes", 10*time.Minute, drainsTwo, func() { l.scale(t, 1) }, func() error { return l.controlPlane(t, 1) })
	l.deleteCluster(t)
}

// newLoop makes what a cluster needs: a network with a name server, which has no record yet.
func newLoop(t *testing.T) *loop {
	t.Helper()
	l := &loop{ns: newNamespace(t)}
	l.lab, l.hypervisor = newHypervisor(t, l.ns)
	if err := l.lab.PlugSelf(250); err != nil {
		t.Fatal(err)
	}
	var err error
	if l.names, err = l.lab.StartNameServer(t.Context(), nameServer); err != nil {
		t.Fatal(err)
	}
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

// nameServer is the last byte of the address of the name server in testdata/cluster.yaml.
const nameServer = 60

// create makes the cluster, and waits for its first node.
func (l *loop) create(t *testing.T) {
	t.Helper()
	l.createFrom(t, clusterOf(t, l.ns))
}

// createFrom makes the cluster from objects, with one control-plane node, and waits for that.
func (l *loop) createFrom(t *testing.T, objects map[string]*unstructured.Unstructured) {
	t.Helper()
	objects["KubeadmControlPlane"].Object["spec"].(object)["replicas"] = int64(1)
	createCluster(t, objects)
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

// controlPlane returns an error unless the control plane has n replicas, and etcd as many members.
func (l *loop) controlPlane(t *testing.T, n int64) error {
	t.Helper()
	return errors.Join(l.ready(t, controlPlaneGroup, "KubeadmControlPlane", "uat", n), l.members(t))
}

// addWorkers creates a worker that joins by the address of the VIP, and one that joins by its name.
func (l *loop) addWorkers(t *testing.T) {
	t.Helper()
	if err := l.names.SetRecord(dnsName, l.lab.VIP); err != nil {
		t.Fatal(err)
	}
	create(t, append(testdata(t, "workers.yaml", l.ns), testdata(t, "workers-by-name.yaml", l.ns)...)...)
}

// workers returns an error unless n workers are ready, half of them of each kind.
func (l *loop) workers(t *testing.T, n int64) error {
	t.Helper()
	return errors.Join(l.ready(t, "cluster.x-k8s.io", "MachineDeployment", "uat-workers", n/2), l.ready(t, "cluster.x-k8s.io", "MachineDeployment", "uat-workers-by-name", n/2))
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

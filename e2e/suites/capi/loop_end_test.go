package capi_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/observe"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// silence is how long nobody may answer for the VIP of a cluster that is gone.
const silence = 2 * time.Second

// deleteCluster deletes the cluster, after which nothing of it is left: no object, no machine, no
// address, and nobody answers for the VIP. newHypervisor looks for what is left in the lab.
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
	l.await(t, "no object of a machine is left", time.Minute, func() error { return l.left(t) })
	mine, err := l.machinesInVCenter(t.Context())
	if err != nil || len(mine) > 0 {
		t.Errorf("left in the vCenter: %q, %v", mine, err)
	}
	if on := l.hypervisor.Guests(); len(on) > 0 {
		t.Errorf("%d machines are on", len(on))
	}
	h, err := observe.ARPs(l.lab).During(t.Context(), func(ctx context.Context, _ *record.Recorder) error { return wait.For(ctx, silence) })
	if err != nil || len(h.Probes) == 0 || len(h.Answers) > 0 {
		t.Errorf("%d of %d probes for the VIP of a cluster that is gone were answered: %v", len(h.Answers), len(h.Probes), err)
	}
}

// left returns an error as long as there is an object that belongs to a machine.
func (l *loop) left(t *testing.T) error {
	t.Helper()
	var errs []error
	for _, k := range []schema.GroupVersionKind{
		{Group: "cluster.x-k8s.io", Version: "v1beta2", Kind: "Machine"},
		{Group: infrastructure, Version: "v1beta1", Kind: "VSphereMachine"}, {Group: infrastructure, Version: "v1beta1", Kind: "VSphereVM"},
		{Group: "ipam.cluster.x-k8s.io", Version: "v1beta2", Kind: "IPAddressClaim"}, {Group: "ipam.cluster.x-k8s.io", Version: "v1beta2", Kind: "IPAddress"},
	} {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(schema.GroupVersionKind{Group: k.Group, Version: k.Version, Kind: k.Kind + "List"})
		if err := management.Client.List(t.Context(), list, client.InNamespace(l.ns)); err != nil || len(list.Items) > 0 {
			errs = append(errs, errors.Join(fmt.Errorf("%d of kind %s", len(list.Items), k.Kind), err))
		}
	}
	return errors.Join(errs...)
}

// machinesInVCenter returns which of the machines that ever ran are in the vCenter.
func (l *loop) machinesInVCenter(ctx context.Context) (names []string, err error) {
	all, err := management.VCenter.Machines(ctx)
	for _, vm := range all {
		if l.guest(vm.Name) != nil {
			names = append(names, vm.Name)
		}
	}
	return names, err
}

package capi_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/vipd-io/vipd/e2e/capi"
	"github.com/vipd-io/vipd/e2e/lab"
)

// Kinds of the objects of a cluster.
const (
	poolKind     = "InClusterIPPool"
	templateKind = "VSphereMachineTemplate"
)

// clusterOf returns the objects of a cluster, by kind.
func clusterOf(t *testing.T, ns string) map[string]*unstructured.Unstructured {
	t.Helper()
	out := make(map[string]*unstructured.Unstructured)
	for _, o := range append(testdata(t, "cluster.yaml", ns), controlPlane(t, ns)) {
		out[o.GetKind()] = o
	}
	return out
}

// createCluster creates the objects of a cluster.
func createCluster(t *testing.T, objects map[string]*unstructured.Unstructured) {
	t.Helper()
	for _, o := range objects {
		create(t, o)
	}
}

// controlPlane is a KubeadmControlPlane as vipd writes it, with what the lab needs in addition.
func controlPlane(t *testing.T, ns string) *unstructured.Unstructured {
	t.Helper()
	o := inNamespace(t, kcp(t, "full", "v1beta2", "--name", "uat", "--namespace", ns, "--dns-name", dnsName, "--image", "vipd:lab", "--kubernetes-version", lab.KubernetesVersion()), ns)
	merge(o.Object, testdata(t, "kcp-lab.yaml", ns)[0].Object)
	return o
}

// merge merges values into an object: maps are merged, and lists are appended.
func merge(into, from object) {
	for k, v := range from {
		switch v := v.(type) {
		case object:
			if sub, ok := into[k].(object); ok {
				merge(sub, v)
				continue
			}
		case []any:
			if sub, ok := into[k].([]any); ok {
				into[k] = append(sub, v...)
				continue
			}
		}
		into[k] = v
	}
}

// network returns the network that CAPV wrote for a machine.
func network(t *testing.T, vm capi.VM) capi.Ethernet {
	t.Helper()
	m, err := vm.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	e, err := m.Ethernet()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// machines returns the names of the machines of a namespace.
func machines(ctx context.Context, ns string) (names []string, err error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Group: infrastructure, Version: "v1beta1", Kind: "VSphereVMList"})
	err = management.Client.List(ctx, list, client.InNamespace(ns))
	for _, o := range list.Items {
		names = append(names, o.GetName())
	}
	return names, err
}

// machine waits for a machine of a namespace other than one.
func machine(t *testing.T, ns, other string, on bool) capi.VM {
	t.Helper()
	return eventually(t, fmt.Sprintf("a machine, on: %t", on), func() (capi.VM, error) {
		mine, err := machines(t.Context(), ns)
		all, also := management.VCenter.Machines(t.Context())
		if err := errors.Join(err, also); err != nil {
			return capi.VM{}, err
		}
		for _, vm := range all {
			if slices.Contains(mine, vm.Name) && vm.UUID != other && vm.On == on {
				return vm, nil
			}
		}
		return capi.VM{}, errors.New("there is none")
	})
}

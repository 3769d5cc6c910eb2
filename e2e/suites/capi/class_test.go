package capi_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// makeClass creates a ClusterClass with patches, and a cluster of that class with variables besides
// the VIP. It returns the KubeadmControlPlane that Cluster API generates.
func makeClass(t *testing.T, api string, patches []any, variables ...any) *unstructured.Unstructured {
	t.Helper()
	ns := newNamespace(t)
	for _, o := range testdata(t, "class-"+api+".yaml", ns) {
		if o.GetKind() == "ClusterClass" {
			o.Object["spec"].(object)["patches"] = patches
		}
		create(t, o)
	}
	cluster := testdata(t, "cluster-of-class.yaml", ns)[0]
	topology := cluster.Object["spec"].(object)["topology"].(object)
	topology["variables"] = append(topology["variables"].([]any), variables...)
	create(t, cluster)
	return eventually(t, "the KubeadmControlPlane of the class", func() (*unstructured.Unstructured, error) {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(schema.GroupVersionKind{Group: "controlplane.cluster.x-k8s.io", Version: api, Kind: "KubeadmControlPlaneList"})
		if err := management.Client.List(t.Context(), list, client.InNamespace(ns)); err != nil {
			return nil, err
		}
		if len(list.Items) != 1 {
			return nil, fmt.Errorf("%d in %s, %v", len(list.Items), ns, reconciled(t, cluster))
		}
		return &list.Items[0], nil
	})
}

// reconciled returns the state of a cluster's class, as Cluster API reports it.
func reconciled(t *testing.T, cluster *unstructured.Unstructured) (message any) {
	t.Helper()
	if err := management.Client.Get(t.Context(), client.ObjectKeyFromObject(cluster), cluster); err != nil {
		return err
	}
	conditions, _, _ := unstructured.NestedSlice(cluster.Object, "status", "conditions")
	for _, c := range conditions {
		if c := c.(object); c["type"] == "TopologyReconciled" {
			return c["message"]
		}
	}
	return nil
}

// patchesOf returns CAPV's patches in one version of the template.
func patchesOf(t *testing.T, api string) []any {
	t.Helper()
	b, err := os.ReadFile("testdata/capv-patches.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return parse[[]any](t, strings.ReplaceAll(string(b), "/API", "/"+api))
}

// TestClusterClass: Cluster API itself renders the patch for a cluster. The template has no files,
// so the class first creates an empty list, as CAPV's class does.
func TestClusterClass(t *testing.T) {
	for _, api := range apis {
		for sans, args := range map[string][]string{
			"localhost":                        nil,
			"localhost " + vip + " " + dnsName: {"--dns-name", dnsName},
		} {
			t.Run(api+" "+sans, func(t *testing.T) {
				ours := parse[[]any](t, kcp(t, "clusterclass", api, args...))
				checkKCP(t, makeClass(t, api, append(patchesOf(t, api)[:1], ours...)), strings.Fields(sans)...)
			})
		}
	}
}

// TestCAPVClusterClass: CAPV's variable kubeVipPodManifest gets the pod, and the class stays
// unchanged.
func TestCAPVClusterClass(t *testing.T) {
	for _, api := range apis {
		t.Run(api, func(t *testing.T) {
			text := manifest(t, "pod", "--address", "192.0.2.1") // CAPV inserts the right address
			got := makeClass(t, api, patchesOf(t, api), object{"name": "kubeVipPodManifest", "value": text})
			if f := file(t, got, "/etc/kubernetes/manifests/kube-vip.yaml"); f["content"] != pod(t) {
				t.Errorf("content:\n%v", f["content"])
			}
		})
	}
}

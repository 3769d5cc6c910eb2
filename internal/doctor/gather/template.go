package gather

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/vipd-io/vipd/internal/doctor"
)

// initialized reports whether kubeadm init has finished, by either version of the
// KubeadmControlPlane.
func initialized(controlPlane unstructured.Unstructured) bool {
	for _, path := range [][]string{{"initialization", "controlPlaneInitialized"}, {"initialized"}} {
		if done, _, _ := unstructured.NestedBool(controlPlane.Object, append([]string{"status"}, path...)...); done {
			return true
		}
	}
	return false
}

// templates reads the VSphereMachineTemplates of a cluster's machines.
func (m managementCluster) templates(ctx context.Context, controlPlane unstructured.Unstructured, cluster string) (out []doctor.MachineTemplate, err error) {
	names, errs := []string{templateOf(controlPlane, "machineTemplate", "spec"), templateOf(controlPlane, "machineTemplate")}, []error(nil)
	ofControlPlane := len(names)
	deployments, err := m.list(ctx, "cluster.x-k8s.io", "machinedeployments", "v1beta2", "v1beta1")
	errs = append(errs, err)
	for _, u := range deployments {
		if u.GetNamespace() == controlPlane.GetNamespace() && u.GetLabels()[clusterLabel] == cluster {
			names = append(names, templateOf(u, "template", "spec"))
		}
	}
	for i, name := range names {
		if name == "" || slices.Contains(names[:i], name) {
			continue
		}
		t, err := m.template(ctx, controlPlane.GetNamespace(), name)
		errs = append(errs, err)
		if t != nil {
			t.ControlPlane = i < ofControlPlane
			out = append(out, *t)
		}
	}
	return out, errors.Join(errs...)
}

// templateOf returns the name of the VSphereMachineTemplate to which an object refers, "" for none.
func templateOf(u unstructured.Unstructured, path ...string) string {
	ref, _, _ := unstructured.NestedStringMap(u.Object, append(append([]string{"spec"}, path...), "infrastructureRef")...)
	if ref["kind"] != "VSphereMachineTemplate" {
		return ""
	}
	return ref["name"]
}

// template reads the gateways of a VSphereMachineTemplate; nil if there is no such object.
func (m managementCluster) template(ctx context.Context, namespace, name string) (*doctor.MachineTemplate, error) {
	for _, version := range []string{"v1beta2", "v1beta1"} {
		resource := schema.GroupVersionResource{Group: "infrastructure.cluster.x-k8s.io", Version: version, Resource: "vspheremachinetemplates"}
		u, err := m.client.Resource(resource).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue // the version or the object
		}
		if err != nil {
			return nil, fmt.Errorf("get VSphereMachineTemplate %s/%s: %w", namespace, name, err)
		}
		devices, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "network", "devices")
		t := &doctor.MachineTemplate{Namespace: namespace, Name: name}
		for i, d := range devices {
			device, _ := d.(map[string]any)
			text, _ := device["gateway4"].(string)
			if gateway, err := netip.ParseAddr(text); err == nil {
				t.Devices = append(t.Devices, doctor.TemplateDevice{Index: i, Gateway: gateway, Pools: poolRefs(device)})
			}
		}
		return t, nil
	}
	return nil, nil
}

// poolRefs returns the kinds and names of a device's pools.
func poolRefs(device map[string]any) (out []doctor.Pool) {
	refs, _, _ := unstructured.NestedSlice(device, "addressesFromPools")
	kinds := map[string]string{"InClusterIPPool": "inclusterippool", "GlobalInClusterIPPool": "globalinclusterippool"}
	for _, r := range refs {
		ref, _ := r.(map[string]any)
		kind, _ := ref["kind"].(string)
		name, _ := ref["name"].(string)
		if kinds[kind] != "" {
			out = append(out, doctor.Pool{Kind: kinds[kind], Name: name})
		}
	}
	return out
}

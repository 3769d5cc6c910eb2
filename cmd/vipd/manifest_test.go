package main

import (
	"os"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/vipd-io/vipd/pkg/config"
)

// TestManifest reads manifests/vipd.yaml as kubelet does, and its settings as
// vipd does.
func TestManifest(t *testing.T) {
	b, err := os.ReadFile("../../manifests/vipd.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var pod corev1.Pod
	if err := yaml.UnmarshalStrict(b, &pod); err != nil {
		t.Fatal(err)
	}
	c := pod.Spec.Containers[0]
	var environ []string
	for _, e := range c.Env {
		environ = append(environ, e.Name+"="+e.Value)
	}
	values, errs := config.FromEnviron(environ)
	got, err := config.Parse(values)
	if len(errs) > 0 || err != nil {
		t.Fatalf("settings: %v, %v", errs, err)
	}
	if got.Addresses[0].String() != "192.168.35.100" || got.LeaseName != "plndr-cp-lock" {
		t.Errorf("config = %+v", got)
	}
	for _, path := range got.Kubeconfigs {
		if !slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == path }) {
			t.Errorf("kubeconfig %s is not mounted", path)
		}
	}
	caps := c.SecurityContext.Capabilities
	if !slices.Equal(caps.Drop, []corev1.Capability{"ALL"}) || !slices.Equal(caps.Add, []corev1.Capability{"NET_ADMIN", "NET_RAW"}) {
		t.Errorf("capabilities = %+v", caps)
	}
	if !pod.Spec.HostNetwork || *pod.Spec.EnableServiceLinks {
		t.Error("want the host's network, and no variables for services")
	}
}

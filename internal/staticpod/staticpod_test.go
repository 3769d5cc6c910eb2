package staticpod

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestRunsKubeVip: the name of the image decides, in any registry, also in Rancher's copies.
func TestRunsKubeVip(t *testing.T) {
	for image, want := range map[string]bool{
		"ghcr.io/kube-vip/kube-vip:v1.0.3": true,
		"kube-vip":                         true,
		"harbor.local:5000/vip/kube-vip-iptables@sha256:00":         true,
		"rancher/mirrored-kube-vip-kube-vip-iptables:v0.8.7":        true,
		"rancher/mirrored-kube-vip-kube-vip":                        true,
		"ghcr.io/kube-vip/kube-vip-cloud-provider:v0.0.10":          false,
		"ghcr.io/vipd-io/vipd:v1":                                   false,
		"example.com/kube-vip/vipd:v1":                              false,
		"rancher/mirrored-kube-vip-kube-vip-cloud-provider:v0.0.10": false,
	} {
		pod := corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: image, Env: []corev1.EnvVar{{Name: "cp_enable", Value: "True"}}}}}}
		if got := RunsKubeVip(pod); got != want {
			t.Errorf("%s: %v, want %v", image, got, want)
		}
		pod.Spec.Containers[0].Env[0].Value = "false"
		if RunsKubeVip(pod) {
			t.Errorf("%s for Services only: counts", image)
		}
	}
}

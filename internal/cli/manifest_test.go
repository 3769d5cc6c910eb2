package cli

import (
	"bytes"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/vipd-io/vipd/internal/config"
	"github.com/vipd-io/vipd/internal/goldentest"
	"github.com/vipd-io/vipd/internal/manifest"
)

// manifests maps the files in manifests/ to the commands that write them.
var manifests = map[string][]string{
	"vipd.yaml": {"manifest", "pod", "--address", "192.168.35.100"},
	"rbac.yaml": {"manifest", "rbac"},
	"kubeadmcontrolplane.yaml": {"manifest", "kcp", "--as", "full", "--name", "uat", "--address", "192.168.35.100",
		"--dns-name", "kube-api-server.uat.local"},
}

// written returns the output of a command.
func written(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if status := Execute(t.Context(), args, &stdout, &stderr); status != exitOK || stderr.Len() > 0 {
		t.Fatalf("%v: status %d: %s", args, status, stderr.String())
	}
	return stdout.String()
}

func TestManifestsAreFresh(t *testing.T) {
	for name, args := range manifests {
		goldentest.Fresh(t, filepath.Join("../../manifests", name), written(t, args...))
	}
}

// TestPod parses the written pod as kubelet does, and its settings as vipd does.
func TestPod(t *testing.T) {
	for _, args := range [][]string{
		{},
		{"--kubeconfig", "/etc/kubernetes/admin.conf", "--kubeconfig", "/etc/kubernetes/super-admin.conf", "--interface", "eth0", "--port", "8443",
			"--peer", "192.168.35.12:8443", "--peer", "192.168.35.13:8443", "--preferred", "n1", "--profile", "fast", "--fence", "nftables"},
	} {
		args = append([]string{"manifest", "pod", "--address", "192.168.35.100"}, args...)
		text := written(t, args...)
		var pod corev1.Pod
		if err := yaml.UnmarshalStrict([]byte(text), &pod); err != nil {
			t.Fatal(err)
		}
		c := pod.Spec.Containers[0]
		got := settingsOf(t, c)
		if got.Addresses[0].String() != "192.168.35.100" || got.LeaseName != "plndr-cp-lock" {
			t.Errorf("config = %+v", got)
		}
		for _, path := range got.Kubeconfigs {
			if !slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
				return (m.MountPath == path || m.MountPath == filepath.Dir(path)) && m.ReadOnly
			}) {
				t.Errorf("kubeconfig %s is not mounted", path)
			}
		}
		checkStatic(t, pod, len(text))
	}
}

func settingsOf(t *testing.T, c corev1.Container) config.Config {
	t.Helper()
	var environ []string
	for _, e := range c.Env {
		environ = append(environ, e.Name+"="+e.Value)
	}
	values, warnings, errs := config.FromKubeVip(environ)
	own, more := config.FromEnviron(environ)
	maps.Copy(values, own)
	got, err := config.Parse(values)
	if len(errs)+len(more)+len(warnings) > 0 || err != nil {
		t.Fatalf("settings: %v, %v, %v, %v", errs, more, warnings, err)
	}
	return got
}

// checkStatic asserts that kubelet accepts the static pod, and its least privilege.
func checkStatic(t *testing.T, pod corev1.Pod, size int) {
	t.Helper()
	s := pod.Spec
	if !s.HostNetwork || *s.EnableServiceLinks || *s.AutomountServiceAccountToken || s.ServiceAccountName != "" || len(s.HostAliases) > 0 ||
		s.PriorityClassName != "system-node-critical" || s.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("spec = %+v", s)
	}
	for _, v := range s.Volumes {
		if v.HostPath == nil {
			t.Errorf("volume %s is not the node's: kubelet takes no static pod with it", v.Name)
		}
	}
	for i, c := range s.Containers {
		sc := c.SecurityContext
		add := []corev1.Capability{"NET_ADMIN", "NET_RAW"}
		if i > 0 {
			add = nil
		}
		if !slices.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}) || !slices.Equal(sc.Capabilities.Add, add) ||
			*sc.AllowPrivilegeEscalation || !*sc.ReadOnlyRootFilesystem || sc.Privileged != nil {
			t.Errorf("container %s: %+v", c.Name, sc)
		}
		for _, m := range c.VolumeMounts {
			if i == 0 && m.MountPath == manifest.DefaultPKI {
				t.Error("the container that speaks to the network sees the CA")
			}
			if writable := !m.ReadOnly; writable != (i == 0 && m.MountPath == manifest.LockDir || i == 1 && m.MountPath == manifest.StateDir) {
				t.Errorf("container %s: %s writable %t", c.Name, m.MountPath, writable)
			}
		}
	}
	if size >= manifest.MaxContent {
		t.Errorf("%d bytes", size)
	}
}

package cli

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/vipd-io/vipd/internal/config"
	"github.com/vipd-io/vipd/internal/goldentest"
	"github.com/vipd-io/vipd/internal/manifest"
	"github.com/vipd-io/vipd/internal/version"
)

// manifests maps the files in manifests/ to the commands that write them.
var manifests = map[string][]string{
	"vipd.yaml":          {"manifest", "pod", "--address", "192.168.35.100", "--image", exampleImage},
	"vipd-rke2.yaml":     {"manifest", "pod", "--address", "192.168.35.100", "--image", exampleImage, "--distribution", "rke2"},
	"daemonset-k3s.yaml": {"manifest", "daemonset", "--address", "192.168.35.100", "--image", exampleImage, "--distribution", "k3s"},
	"rbac.yaml":          {"manifest", "rbac"},
	"kubeadmcontrolplane.yaml": {"manifest", "kcp", "--as", "full", "--name", "uat", "--address", "192.168.35.100",
		"--dns-name", "kube-api-server.uat.local", "--image", exampleImage},
}

// exampleImage names no version: the examples are of no release.
const exampleImage = "ghcr.io/vipd-io/vipd:VERSION"

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

// TestImage: without --image, a manifest names the version of the vipd that writes it.
func TestImage(t *testing.T) {
	for _, args := range [][]string{
		{"pod"}, {"daemonset", "--distribution", "k3s"}, {"kcp"},
	} {
		text := written(t, append(append([]string{"manifest"}, args...), "--address", "192.168.35.100")...)
		if want := "image: ghcr.io/vipd-io/vipd:" + version.Tag() + "\n"; !strings.Contains(text, want) || strings.Contains(text, ":latest") {
			t.Errorf("%v: no %q in:\n%s", args, want, text)
		}
	}
}

// TestDistribution: each distribution has its own folders, in the pod and for vipd; no other path
// of the node is mounted.
func TestDistribution(t *testing.T) {
	for _, tt := range []struct {
		args  []string
		hosts []string
	}{
		{nil, []string{"/etc/kubernetes/manifests", "/run/vipd", "/etc/vipd", "/etc/kubernetes/pki"}},
		{[]string{"--distribution", "rke2"}, []string{"/var/lib/rancher/rke2/agent/pod-manifests", "/run/vipd", "/etc/vipd", "/var/lib/rancher/rke2/server/tls"}},
		{[]string{"--distribution", "k3s"}, []string{"/var/lib/rancher/k3s/agent/pod-manifests", "/run/vipd", "/etc/vipd", "/var/lib/rancher/k3s/server/tls"}},
		{[]string{"--distribution", "rke2", "--data-dir", "/data/rke2"}, []string{"/data/rke2/agent/pod-manifests", "/run/vipd", "/etc/vipd", "/data/rke2/server/tls"}},
		{[]string{"--distribution", "rke2", "--pki", "/ca"}, []string{"/var/lib/rancher/rke2/agent/pod-manifests", "/run/vipd", "/etc/vipd", "/ca"}},
		{[]string{"--distribution", "k3s", "--kubeconfig", "/etc/rancher/k3s/k3s.yaml"}, []string{"/var/lib/rancher/k3s/agent/pod-manifests", "/run/vipd", "/etc/rancher/k3s/k3s.yaml"}},
	} {
		text := written(t, append([]string{"manifest", "pod", "--address", "192.168.35.100"}, tt.args...)...)
		var pod corev1.Pod
		if err := yaml.UnmarshalStrict([]byte(text), &pod); err != nil {
			t.Fatal(err)
		}
		var hosts []string
		for _, v := range pod.Spec.Volumes {
			hosts = append(hosts, v.HostPath.Path)
		}
		if !slices.Equal(hosts, tt.hosts) {
			t.Errorf("%v: mounts %q, want %q", tt.args, hosts, tt.hosts)
		}
		if c := settingsOf(t, pod.Spec.Containers[0]); c.Manifests != tt.hosts[0] {
			t.Errorf("%v: watches %s", tt.args, c.Manifests)
		}
		checkStatic(t, pod, len(text))
	}
}

func TestDistributionUsage(t *testing.T) {
	for _, tt := range []struct {
		want string
		args []string
	}{
		{`--distribution: "rke" is not one of kubeadm, rke2, k3s`, []string{"pod", "--distribution", "rke"}},
		{"--data-dir: kubeadm has none", []string{"pod", "--data-dir", "/data"}},
		{"renew", []string{"pod", "--lease-duration", "12s", "--renew-interval", "11s"}},
		{"lease", []string{"kcp", "--lease-duration", "3m"}},
		{`--data-dir: "data" is not an absolute path`, []string{"pod", "--distribution", "k3s", "--data-dir", "data"}},
		{"--distribution: missing: one of kubeadm, rke2, k3s", []string{"daemonset"}},
		{"--port: 9345 is the port of rke2 at which nodes join", []string{"pod", "--distribution", "rke2", "--port", "9345"}},
	} {
		var stdout, stderr bytes.Buffer
		status := Execute(t.Context(), append(append([]string{"manifest"}, tt.args...), "--address", "192.168.35.100"), &stdout, &stderr)
		if status != exitUsage || stdout.Len() > 0 || !strings.Contains(stderr.String(), tt.want) {
			t.Errorf("%v: status %d, %q, want %q", tt.args, status, stderr.String(), tt.want)
		}
	}
}

// TestDaemonSet: each document is one of the API; the ServiceAccount has the rights of vipd's
// certificates and no others, and the kubeconfig in the pod is valid beside token and CA.
func TestDaemonSet(t *testing.T) {
	objects := documents(t, written(t, "manifest", "daemonset", "--address", "192.168.35.100", "--distribution", "k3s", "--lease-name", "vip", "--profile", "fast"))
	var set appsv1.DaemonSet
	decode(t, objects["DaemonSet vipd"], &set)
	s := set.Spec.Template.Spec
	if s.ServiceAccountName != "vipd" || *s.AutomountServiceAccountToken || !s.HostNetwork || len(s.Containers) != 1 {
		t.Errorf("spec = %+v", s)
	}
	for k, v := range set.Spec.Selector.MatchLabels {
		if set.Spec.Template.Labels[k] != v {
			t.Errorf("the selector wants %s=%s", k, v)
		}
	}
	if c := settingsOf(t, s.Containers[0]); c.Manifests != "/var/lib/rancher/k3s/agent/pod-manifests" || c.LeaseName != "vip" || c.LeaseDuration != 2*time.Second {
		t.Errorf("config = %+v", c)
	}
	for _, v := range s.Volumes {
		if v.HostPath != nil && v.HostPath.Path != "/run/vipd" && v.HostPath.Path != "/var/lib/rancher/k3s/agent/pod-manifests" {
			t.Errorf("mounts %s of the node", v.HostPath.Path)
		}
	}
	group := documents(t, written(t, "manifest", "rbac", "--lease-name", "vip"))
	for name, bound := range map[string]string{"RoleBinding vipd-daemonset": "Role vipd", "RoleBinding vipd-daemonset-servers": "Role vipd-servers", "ClusterRoleBinding vipd-daemonset": "ClusterRole vipd"} {
		var b rbacv1.RoleBinding // a ClusterRoleBinding has the same fields
		decode(t, objects[name], &b)
		if want := []rbacv1.Subject{{Kind: "ServiceAccount", Name: "vipd", Namespace: "kube-system"}}; !slices.Equal(b.Subjects, want) || b.RoleRef.Kind+" "+b.RoleRef.Name != bound {
			t.Errorf("%s binds %v to %v", name, b.RoleRef, b.Subjects)
		}
		if objects[bound] == "" || objects[bound] != group[bound] {
			t.Errorf("%s has other rights than with a certificate:\n%s", bound, objects[bound])
		}
	}
	for name := range objects {
		if kind, _, _ := strings.Cut(name, " "); strings.Contains(kind, "Role") && !strings.Contains(name, "vipd") {
			t.Errorf("%s is not vipd's", name)
		}
	}
	checkKubeconfig(t, objects["ConfigMap vipd"])
}

// checkKubeconfig reads the kubeconfig of a ConfigMap as vipd does.
func checkKubeconfig(t *testing.T, document string) {
	t.Helper()
	var m corev1.ConfigMap
	decode(t, document, &m)
	dir := t.TempDir()
	path := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(path, []byte(m.Data["kubeconfig"]), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := clientcmd.LoadFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := clientcmd.ResolveLocalPaths(file); err != nil {
		t.Fatal(err)
	}
	current := file.Contexts[file.CurrentContext]
	if current == nil || file.AuthInfos[current.AuthInfo].TokenFile != filepath.Join(dir, "token") || file.Clusters[current.Cluster].CertificateAuthority != filepath.Join(dir, "ca.crt") {
		t.Errorf("kubeconfig: %+v", file)
	}
}

// documents returns YAML documents by kind and name, without comments.
func documents(t *testing.T, text string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	for d := range strings.SplitSeq(text, "\n---\n") {
		var m struct {
			Kind     string
			Metadata struct{ Name string }
		}
		decode(t, d, &m)
		var any map[string]any
		decode(t, d, &any)
		plain, err := yaml.Marshal(any)
		if err != nil {
			t.Fatal(err)
		}
		out[m.Kind+" "+m.Metadata.Name] = string(plain)
	}
	return out
}

func decode(t *testing.T, text string, into any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v:\n%s", err, text)
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

package gather

import (
	"os"
	"path/filepath"
	"testing"
)

// TestDistribution lays out what each installer leaves on a node.
func TestDistribution(t *testing.T) {
	for _, tt := range []struct {
		name, manifests, want string
		folders               []string
	}{
		{name: "nothing yet", want: "kubeadm"},
		{name: "kubeadm", want: "kubeadm", folders: []string{"/etc/kubernetes/manifests", "/etc/kubernetes/pki"}},
		{name: "a server of RKE2", want: "rke2", folders: []string{"/var/lib/rancher/rke2/server/tls", "/var/lib/rancher/rke2/agent/pod-manifests", "/etc/kubernetes"}},
		{name: "RKE2 before its first start", want: "rke2", folders: []string{"/var/lib/rancher/rke2/agent/pod-manifests"}},
		{name: "a server of k3s", want: "k3s", folders: []string{"/var/lib/rancher/k3s/server/tls", "/var/lib/rancher/k3s/agent/pod-manifests"}},
		{name: "vipd's own container", want: "k3s", manifests: "/var/lib/rancher/k3s/agent/pod-manifests"},
		{name: "vipd says kubeadm", want: "kubeadm", manifests: "/etc/kubernetes/manifests", folders: []string{"/var/lib/rancher/k3s/server/tls"}},
	} {
		root := t.TempDir()
		for _, f := range tt.folders {
			if err := os.MkdirAll(filepath.Join(root, f), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if got := distribution(root, tt.manifests); got.Name != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got.Name, tt.want)
		}
	}
}

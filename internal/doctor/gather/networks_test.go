package gather

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRancherNetworks: the ranges of RKE2 and k3s before their first start.
func TestRancherNetworks(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"nothing":       {nil, "10.43.0.0/16 k3s's default, 10.42.0.0/16 k3s's default"},
		"one":           {map[string]string{"config.yaml": "tls-san: [192.168.35.100]\nservice-cidr: 192.168.32.0/20\n"}, "192.168.32.0/20 service-cidr in /etc/rancher/k3s/config.yaml, 10.42.0.0/16 k3s's default"},
		"two families":  {map[string]string{"config.yaml": "cluster-cidr: 10.0.0.0/9,fd00::/56\nservice-cidr: [10.43.0.0/16, \"fd01::/112\"]\n"}, "10.43.0.0/16 service-cidr in /etc/rancher/k3s/config.yaml, fd01::/112 service-cidr in /etc/rancher/k3s/config.yaml, 10.0.0.0/9 cluster-cidr in /etc/rancher/k3s/config.yaml, fd00::/56 cluster-cidr in /etc/rancher/k3s/config.yaml"},
		"a later file":  {map[string]string{"config.yaml": "service-cidr: 10.1.0.0/16\n", "config.yaml.d/90.yaml": "service-cidr: 10.2.0.0/16\n"}, "10.2.0.0/16 service-cidr in /etc/rancher/k3s/config.yaml, 10.42.0.0/16 k3s's default"},
		"what is wrong": {map[string]string{"config.yaml": "service-cidr: 10.1\n"}, "10.42.0.0/16 k3s's default"},
	} {
		root := t.TempDir()
		for file, text := range c.files {
			path := filepath.Join(root, "/etc/rancher/k3s", file)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		found, err := rancherNetworks(root, "k3s")
		var got []string
		for _, n := range found {
			got = append(got, n.Prefix.String()+" "+n.Source)
		}
		if err != nil || strings.Join(got, ", ") != c.want {
			t.Errorf("%s: %s, %v; want %s", name, strings.Join(got, ", "), err, c.want)
		}
	}
}

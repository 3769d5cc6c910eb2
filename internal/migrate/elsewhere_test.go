package migrate

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

// TestElsewhere: the true reason for a file that has no manifest of kube-vip, but what makes one.
func TestElsewhere(t *testing.T) {
	for name, c := range map[string]shape{
		"values of the chart":      {src: "config:\n  address: 192.168.35.100\nenv:\n  vip_interface: eth0\n  cp_enable: \"true\"\n", refused: true, at: "vip_interface", says: "values of its Helm chart"},
		"values in a parent chart": {src: "kube-vip:\n  env: {vip_arp: \"true\"}\n", refused: true, at: "vip_arp", says: "values of its Helm chart"},
		"variables of kubespray":   {src: "---\nkube_vip_enabled: true\nkube_vip_address: 192.168.35.100\n", refused: true, at: "kube_vip_enabled", says: "variables of Ansible"},
		"compose":                  {src: "services:\n  vip:\n    image: ghcr.io/kube-vip/kube-vip:v1.0.3\n    command: manager\n    environment: [vip_arp=true]\n", refused: true, at: "image", says: "docker compose"},
		"a Secret":                 {src: "kind: Secret\nmetadata:\n  name: kube-vip\ndata:\n  vip.yaml: " + base64.StdEncoding.EncodeToString([]byte(kubeVip())) + "\n", refused: true, at: "vip.yaml", says: "encoded here (base64)"},
		"keepalived.conf":          {src: "! by hand\nvrrp_instance api {\n  virtual_ipaddress {\n    192.168.35.100/24\n  }\n}\n", refused: true, at: "vrrp_instance", says: "keepalived holds the address here"},
		"Terraform":                {src: "resource \"local_file\" \"vip\" {\n  content = <<EOT\n" + kubeVip() + "EOT\n}\n", refused: true, at: "resource", says: "in Terraform's language"},
		"a StatefulSet":            {src: strings.Replace(daemonSet(kubeVip()), "DaemonSet", "StatefulSet", 1), refused: true, says: "runs as a StatefulSet"},

		// What is only named.
		"keepalived is removed": {src: with(kubeVip(), "systemctl disable --now keepalived"), out: "disable --now keepalived"},
		"keepalived starts":     {src: with(kubeVip(), "systemctl enable --now keepalived"), says: "keepalived is here as well"},

		// The release that an object asks for tells the distribution.
		"Rancher, RKE2":    {src: "kind: Cluster\nspec:\n  kubernetesVersion: v1.31.5+rke2r1\n  rkeConfig:\n" + under("    additionalManifest: |", inCluster(), 6), out: "path: /var/lib/rancher/rke2/agent/pod-manifests\n"},
		"Rancher, k3s":     {src: "kind: Cluster\nspec:\n  kubernetesVersion: v1.31.5+k3s1\n  rkeConfig:\n" + under("    additionalManifest: |", inCluster(), 6), out: "path: /var/lib/rancher/k3s/agent/pod-manifests\n"},
		"topology":         {src: "kind: Cluster\nspec:\n  topology:\n    version: v1.32.0-rc1+rke2r1\n    variables:\n    - name: vip\n" + under("      value: |", inCluster(), 8), out: "path: /var/lib/rancher/rke2/agent/pod-manifests\n"},
		"another release":  {src: "kind: Cluster\nspec:\n  kubernetesVersion: v1.31.5\n  rkeConfig:\n" + under("    additionalManifest: |", inCluster(), 6), refused: true, says: "does not tell whether kubeadm, RKE2 or k3s"},
		"a release of k3s": {src: "kind: Cluster\nspec:\n  kubernetesVersion: v1.31.5+k3s1\n  rkeConfig:\n" + under("    additionalManifest: |", inCluster(), 6), distribution: "rke2", refused: true, says: "nodes of k3s, but --distribution is rke2"},

		// Classes and their clusters.
		"a condition in a class": {src: classWith("{{ if .vip }}\n" + entry(onNode, kubeVip()) + "{{ end }}\n"), refused: true, at: "if .vip", says: "Go template"},
		"files in a variable":    {src: "kind: Cluster\nspec:\n  topology:\n    variables:\n    - name: files\n      value:\n      - " + indented(entry(onNode, kubeVip()), 8), says: "the path of this manifest is " + onNode + " and was not changed", out: "path: " + onNode},
	} {
		t.Run(name, c.run)
	}

	var r *Refusal
	if _, err := Migrate(classWith("{{ if .vip }}\n"+entry(onNode, kubeVip())+"{{ end }}\n"), options); !errors.As(err, &r) || r.Way != conditions {
		t.Errorf("%v, want %q", err, conditions)
	}
	for _, src := range []string{"# kube-vip is built in\nkind: X\n", "# vrrp_instance\nkind: X\n", "kind: X\n"} {
		if _, err := Migrate(src, options); err != ErrNoKubeVip { //nolint:errorlint // nothing is added
			t.Errorf("%v, want %v: %s", err, ErrNoKubeVip, src)
		}
	}
}

// inCluster returns a DaemonSet that does not tell the distribution.
func inCluster() string {
	ds, _, _ := strings.Cut(daemonSet(kubeVip()), "        volumeMounts:")
	return ds + "      serviceAccountName: kube-vip\n"
}

package main

import (
	"encoding/base64"
	"encoding/pem"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// ownPod is the manifest that vipd writes.
func ownPod(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "vipd", "manifest", "pod", "--address", testVIP).Output()
	must(t, err)
	return string(out)
}

// selinux stands in for a machine with SELinux, which this one has not.
const selinux = "mount -t tmpfs none /sys/fs && mkdir /sys/fs/selinux && echo 1 > /sys/fs/selinux/enforce"

func TestDoctorStaticPods(t *testing.T) {
	own := ownPod(t)
	const path = "kubernetes/manifests/vipd.yaml"
	kubeVip := `{apiVersion: v1, kind: Pod, metadata: {name: kube-vip}, spec: {containers: [{name: kube-vip, image: "ghcr.io/kube-vip/kube-vip:v1.0.2", env: [{name: cp_enable, value: "true"}]}]}}`
	with := func(files map[string]string) func(*site) { return func(s *site) { s.files = files } }
	diagnose(t, []diagnosis{
		{name: "vipd's own", fault: with(map[string]string{path: own}), verdict: []string{"All is well"}},
		{name: "vipd's own, where SELinux is enforcing", fault: func(s *site) { s.files, s.before = map[string]string{path: own}, selinux }, verdict: []string{"All is well"}},
		{name: "a backup that kubelet leaves alone", fault: with(map[string]string{path: own, "kubernetes/manifests/.vipd.yaml.swp": own}), verdict: []string{"All is well"}},
		{
			name: "a backup", fault: with(map[string]string{path: own, path + ".bak": own}),
			want: []found{{"D28", "error", "several", "there are several static pods of vipd: /etc/" + path + ", /etc/" + path + ".bak"}}, verdict: []string{wrong},
		},
		{
			name: "no YAML", fault: with(map[string]string{path: "{# a comment #}\nkind: [Pod\n"}),
			want: []found{{"D28", "error", "broken", "/etc/" + path + " is no pod: "}}, verdict: []string{wrong},
		},
		{
			name:  "a ServiceAccount and a Secret",
			fault: with(map[string]string{path: strings.Replace(own, "  hostNetwork: true\n", "  hostNetwork: true\n  serviceAccountName: vipd\n  imagePullSecrets: [{name: registry}]\n", 1)}),
			want:  []found{{"D28", "error", "refers", "refers to ServiceAccount vipd, Secret registry"}}, verdict: []string{wrong},
		},
		{
			name: "confined by SELinux",
			fault: func(s *site) {
				s.files, s.before = map[string]string{path: strings.ReplaceAll(own, "spc_t", "container_t")}, selinux
			},
			want: []found{{"D20", "error", "", "SELinux is enforcing, and /etc/" + path + " does not ask"}}, verdict: []string{wrong},
		},
		{name: "confined, and SELinux is not enforcing", fault: with(map[string]string{path: strings.ReplaceAll(own, "spc_t", "container_t")}), verdict: []string{"All is well"}},
		{
			name: "kube-vip, too", fault: with(map[string]string{path: own, "kubernetes/manifests/kube-vip.yml": kubeVip}),
			want: []found{{"D25", "error", "", "/etc/kubernetes/manifests/kube-vip.yml is a kube-vip"}}, verdict: []string{"kube-vip is still on this node"},
		},
	})
}

func TestDoctorBootstrap(t *testing.T) {
	const machine = "mount -t tmpfs none /run && mkdir -p /run/cluster-api /run/cloud-init && mount -t tmpfs none /var/log && " +
		"printf '[init] Using Kubernetes version\\n[wait-control-plane] Waiting for the kubelet\\n\\n' > /var/log/cloud-init-output.log; "
	on := func(script string) func(*site) { return func(s *site) { s.before = machine + script } }
	diagnose(t, []diagnosis{
		{name: "done", fault: on("touch /run/cluster-api/bootstrap-success.complete"), verdict: []string{"All is well"}},
		{
			name: "at work", fault: on("true"), verdict: []string{better},
			want: []found{{"D29", "info", "running", "the last line of cloud-init's log: [wait-control-plane] Waiting for the kubelet"}},
		},
		{
			name: "failed", fault: on(`echo '{"v1": {"errors": ["scripts_user failed"]}}' > /run/cloud-init/result.json`), verdict: []string{"kubeadm failed on this machine"},
			want: []found{{"D29", "error", "failed", "cloud-init has ended, and kubeadm has not come to its end; ... Waiting for the kubelet; cloud-init's errors: scripts_user failed"}},
		},
	})
}

// TestDoctorCredentials: what may be at the path of vipd's kubeconfig.
func TestDoctorCredentials(t *testing.T) {
	const path = "vipd/kubeconfig"
	conf := func(s *site, lasts time.Duration) string {
		pair := s.ca.issue(-time.Hour, lasts, "vipd:n1")
		cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})
		return strings.Replace(kubeletConf(s.name, s.ca.pem), "user: {}", "user: {client-certificate-data: "+base64.StdEncoding.EncodeToString(cert)+"}", 1)
	}
	with := func(path, text string) func(*site) {
		return func(s *site) { s.kubeconfig, s.files = "/etc/vipd/kubeconfig", map[string]string{path: text} }
	}
	lasting := func(d time.Duration) func(*site) {
		return func(s *site) { with(path, conf(s, d))(s) }
	}
	one := func(severity, mark, seen string) []found { return []found{{"D17", severity, mark, seen}} }
	diagnose(t, []diagnosis{
		{name: "missing", fault: with("vipd/", ""), want: one("error", "missing", "/etc/vipd/kubeconfig is not there"), verdict: []string{"vipd has no credentials"}},
		{name: "a directory", fault: with(path+"/", ""), want: one("error", "directory", "/etc/vipd/kubeconfig is a directory"), verdict: []string{"vipd has no credentials"}},
		{name: "empty", fault: with(path, ""), want: one("error", "empty", "/etc/vipd/kubeconfig is empty"), verdict: []string{"vipd has no credentials"}},
		{name: "broken", fault: with(path, "clusters: [\n"), want: one("error", "broken", "/etc/vipd/kubeconfig is no kubeconfig"), verdict: []string{"vipd has no credentials"}},
		{name: "ended", fault: lasting(-time.Minute), want: one("error", "expired", "the certificate in /etc/vipd/kubeconfig ended at"), verdict: []string{"vipd has no credentials"}},
		{name: "ends soon", fault: lasting(12 * time.Hour), want: one("warning", "expires", "the certificate in /etc/vipd/kubeconfig ends at"), verdict: []string{better}},
	})
}

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// Faults of files on the node.

// mounts returns the shell command that mounts the site's other files on the node: each top folder
// of these files is replaced by one of the site's, only in the mount namespace of the doctor.
func (s *site) mounts() string {
	var b strings.Builder
	if s.context != "" { // the pid stays the same from the shell to vipd
		fmt.Fprintf(&b, "mount --bind %q /proc/$$/attr/current; ", s.file("context", s.context))
	}
	done := map[string]bool{}
	for path, text := range s.files {
		top := map[bool]string{true: "/sys/fs", false: "/" + strings.Split(path, "/")[1]}[strings.HasPrefix(path, "/sys/fs/")]
		s.file("root"+path, text)
		if !done[top] {
			fmt.Fprintf(&b, "mount --bind %q %s; ", filepath.Join(s.etc, "root", top), top)
			done[top] = true
		}
	}
	return b.String()
}

// file writes a file below the node's /etc.
func (s *site) file(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.etc, name)
	must(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(s.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func (s *site) staticPod(name, text string) { s.file("kubernetes/manifests/"+name, text) }

// vipdPod returns vipd's own manifest, as `vipd manifest pod` writes it, after a change.
func vipdPod(t *testing.T, change func(*corev1.Pod)) string {
	t.Helper()
	var pod corev1.Pod
	must(t, yaml.UnmarshalStrict([]byte(written(t, "manifest", "pod", "--address", testVIP)), &pod))
	change(&pod)
	b, err := yaml.Marshal(pod)
	must(t, err)
	return string(b)
}

func same(*corev1.Pod) {}

// preflight makes the site one on which kubeadm has not run yet.
func (s *site) preflight() {
	s.noVIP()
	s.status, s.own, s.atVIP, s.args, s.name = nil, server{}, server{}, []string{"--preflight", "--address", testVIP, "--name", siteName}, "localhost"
}

// leftKubeVip has the relevant parts of the manifest in CAPV's templates.
const leftKubeVip = `apiVersion: v1
kind: Pod
metadata: {name: kube-vip, namespace: kube-system}
spec:
  containers:
  - {name: kube-vip, image: "ghcr.io/kube-vip/kube-vip:v0.6.4", args: [manager], env: [{name: cp_enable, value: "true"}, {name: address, value: 192.168.35.100}]}
  hostNetwork: true
`

// clientConf returns a kubeconfig with a client certificate that expires after life.
func (s *site) clientConf(life time.Duration) string {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(s.t, err)
	now := time.Now()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "kubernetes-admin"}, NotBefore: now.Add(-365 * 24 * time.Hour), NotAfter: now.Add(life)},
		&x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kubernetes"}}, &key.PublicKey, key)
	must(s.t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	must(s.t, err)
	data := func(kind string, b []byte) string {
		return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return strings.Replace(kubeletConf(s.name, s.ca.pem), "user: {}", "user: {client-certificate-data: "+data("CERTIFICATE", der)+", client-key-data: "+data("PRIVATE KEY", secret)+"}", 1)
}

const day = 24 * time.Hour

func TestDoctorKubeconfig(t *testing.T) {
	uses := func(path string) func(*site) { return func(s *site) { s.kubeconfig = path } }
	admin := func(text func(*site) string, mode os.FileMode) func(*site) {
		return func(s *site) {
			s.kubeconfig = "/etc/kubernetes/admin.conf"
			must(s.t, os.Chmod(s.file("kubernetes/admin.conf", text(s)), mode))
		}
	}
	valid := func(life time.Duration) func(*site) string {
		return func(s *site) string { return s.clientConf(life) }
	}
	plain := func(text string) func(*site) string { return func(*site) string { return text } }
	diagnose(t, []diagnosis{
		{name: "missing", fault: uses("/etc/vipd/kubeconfig"), want: []found{{"D17", "error", "missing", "/etc/vipd/kubeconfig does not exist"}}, verdict: []string{"vipd has no usable credentials"}},
		{name: "folder", fault: func(s *site) {
			s.kubeconfig = "/etc/kubernetes/super-admin.conf"
			must(s.t, os.MkdirAll(filepath.Join(s.etc, "kubernetes/super-admin.conf"), 0o755))
		}, want: []found{{"D17", "error", "directory", "/etc/kubernetes/super-admin.conf is a directory"}}, verdict: []string{"vipd has no usable credentials"}},
		{name: "empty", fault: admin(plain(""), 0o600), want: []found{{"D17", "error", "empty", "/etc/kubernetes/admin.conf is empty"}}, verdict: []string{"vipd has no usable credentials"}},
		{name: "no YAML", fault: admin(plain("{{ ds.meta_data }}: [\n"), 0o600), want: []found{{"D17", "error", "broken", "/etc/kubernetes/admin.conf is no valid kubeconfig"}}, verdict: []string{"vipd has no usable credentials"}},
		{name: "expired", fault: admin(valid(-time.Hour), 0o600), want: []found{{"D17", "error", "expired", "the certificate in /etc/kubernetes/admin.conf expired at "}}, verdict: []string{"vipd has no usable credentials"}},
		{name: "ends in 12 days", fault: admin(valid(12*day), 0o600), want: []found{{"D17", "warning", "expires", "the certificate in /etc/kubernetes/admin.conf expires at "}}, verdict: []string{better}},
		{name: "readable by all", fault: admin(valid(300*day), 0o644), want: []found{{"D17", "warning", "readable", "every user of this node can read /etc/kubernetes/admin.conf (mode 0644)"}}, verdict: []string{better}},
		{name: "one of two is missing", fault: func(s *site) {
			admin(valid(300*day), 0o600)(s)
			s.kubeconfig += ":/etc/kubernetes/super-admin.conf"
		}, want: []found{{"D17", "warning", "missing", "/etc/kubernetes/super-admin.conf does not exist"}}, verdict: []string{better}},
		{name: "kubeadm's, for 300 days", fault: admin(valid(300*day), 0o600), verdict: []string{"All is well"}},
		{name: "vipd's, for 5 days", fault: func(s *site) { s.kubeconfig = "/etc/vipd/kubeconfig"; s.file("vipd/kubeconfig", s.clientConf(5*day)) }, verdict: []string{"All is well"}},
	})
}

func TestDoctorKubeVipLeftBehind(t *testing.T) {
	js, err := yaml.YAMLToJSON([]byte(leftKubeVip))
	must(t, err)
	var all []diagnosis
	for name, text := range map[string]string{"kube-vip.yaml": leftKubeVip, "kube-vip.yml": leftKubeVip, "kube-vip.json": string(js), "kube-vip.yaml.bak": leftKubeVip, "zz": leftKubeVip} {
		all = append(all, diagnosis{name: name, fault: func(s *site) { s.staticPod(name, text) },
			want: []found{{"D25", "error", "", "/etc/kubernetes/manifests/" + name + " runs kube-vip"}}, verdict: []string{"kube-vip is still on this node"}})
	}
	diagnose(t, append(all,
		diagnosis{name: "before kubeadm", fault: func(s *site) {
			s.preflight()
			s.staticPod("kube-vip.yaml", leftKubeVip)
		}, want: []found{{"D25", "warning", "", "kube-vip.yaml runs kube-vip"}}, verdict: []string{better}},
		diagnosis{name: "what kubelet passes over", fault: func(s *site) { s.staticPod(".kube-vip.yaml", leftKubeVip) }, verdict: []string{"All is well"}},
		diagnosis{name: "for Services only", fault: func(s *site) { s.staticPod("kube-vip.yaml", strings.Replace(leftKubeVip, `"true"`, `"false"`, 1)) }, verdict: []string{"All is well"}},
	))
}

// kubernetes sets the Kubernetes version of the node.
func (s *site) kubernetes(version string) {
	s.staticPod("kube-apiserver.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: kube-apiserver, namespace: kube-system}\nspec: {containers: [{name: kube-apiserver, image: \"registry.k8s.io:443/kube-apiserver:"+version+"\"}]}\n")
}

func TestDoctorStaticPod(t *testing.T) {
	account := func(p *corev1.Pod) { p.Spec.ServiceAccountName = "kube-vip" }
	const refers = "/etc/kubernetes/manifests/vipd.yaml refers to the ServiceAccount kube-vip; "
	diagnose(t, []diagnosis{
		{name: "vipd's own", fault: func(s *site) { s.staticPod("vipd.yaml", vipdPod(t, same)) }, verdict: []string{"All is well"}},
		{name: "others' that are none of ours", fault: func(s *site) {
			s.staticPod("README", "vipd.yaml goes here: {")
			s.staticPod("vipd", "")
			must(s.t, os.Remove(filepath.Join(s.etc, "kubernetes/manifests/vipd")))
		}, verdict: []string{"All is well"}},
		{name: "1.36, and yet it runs", fault: func(s *site) { s.staticPod("vipd.yaml", vipdPod(t, account)); s.kubernetes("v1.36.3") },
			want: []found{{"D28", "warning", "references", refers + "Kubernetes here is v1.36.3"}}, verdict: []string{better}},
		{name: "1.33", fault: func(s *site) { s.staticPod("vipd.yaml", vipdPod(t, account)); s.kubernetes("v1.33.0-rc.1") },
			want: []found{{"D28", "warning", "references", refers + "Kubernetes here is v1.33.0-rc.1"}}, verdict: []string{better}},
		{name: "an unknown version", fault: func(s *site) { s.staticPod("vipd.yaml", vipdPod(t, account)) },
			want: []found{{"D28", "warning", "references", refers + "the version of Kubernetes is unknown here"}}, verdict: []string{better}},
		{name: "before kubeadm", fault: func(s *site) {
			s.preflight()
			s.files["/run/kubeadm/kubeadm.yaml"] = "---\napiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: v1.34.1\n"
			s.staticPod("vipd.yaml", vipdPod(t, account))
		}, want: []found{{"D28", "error", "references", refers + "Kubernetes here is v1.34.1"}}, verdict: []string{"kubelet does not run the VIP manager"}},
		{name: "vipd's own, before kubeadm", fault: func(s *site) { s.preflight(); s.staticPod("vipd.yaml", vipdPod(t, same)) }, verdict: []string{"All is well"}},
		{name: "the pod does not run, and nobody has the VIP", fault: func(s *site) {
			s.free()
			s.status, s.args = nil, []string{"--address", testVIP}
			s.kubernetes("v1.34.0@sha256:0")
			s.staticPod("vipd.yaml", vipdPod(t, account))
		}, want: []found{{"D14", "error", "nobody", "no route to host"}, {"D28", "error", "references", refers}}, verdict: []string{"kubelet does not run the VIP manager"}},
		{name: "no YAML", fault: func(s *site) { s.staticPod("vipd.yaml", "apiVersion: v1\nkind: Pod\n  metadata: {") },
			want: []found{{"D28", "error", "broken", "/etc/kubernetes/manifests/vipd.yaml is no valid manifest of a pod: "}}, verdict: []string{wrong}},
		{name: "empty", fault: func(s *site) { s.staticPod("vipd.yaml", "") },
			want: []found{{"D28", "error", "broken", `is no valid manifest of a pod: it is of kind ""`}}, verdict: []string{wrong}},
		{name: "a backup", fault: func(s *site) {
			s.staticPod("vipd.yaml", vipdPod(t, same))
			s.staticPod("vipd.yaml.bak", vipdPod(t, same))
		},
			want: []found{{"D28", "warning", "twice", "/etc/kubernetes/manifests/vipd.yaml and vipd.yaml.bak are both the pod kube-system/vipd"}}, verdict: []string{better}},
		{name: "two for one VIP", fault: func(s *site) {
			s.staticPod("vipd.yaml", vipdPod(t, same))
			s.staticPod("vip.yaml", vipdPod(t, func(p *corev1.Pod) { p.Name = "vip" }))
		}, want: []found{{"D28", "error", "twice", "/etc/kubernetes/manifests/vip.yaml and vipd.yaml both run vipd for " + testVIP}}, verdict: []string{wrong}},
		{name: "two for two VIPs", fault: func(s *site) {
			s.staticPod("vipd.yaml", vipdPod(t, same))
			s.staticPod("vip.yaml", strings.ReplaceAll(vipdPod(t, func(p *corev1.Pod) { p.Name = "vip" }), testVIP, "192.168.35.101"))
		}, verdict: []string{"All is well"}},
	})
}

// TestDoctorSELinux simulates the files of the kernel: this machine has no SELinux.
func TestDoctorSELinux(t *testing.T) {
	enforcing := func(s *site, value string) { s.files["/sys/fs/selinux/enforce"] = value }
	lax := func(p *corev1.Pod) { p.Spec.SecurityContext.SELinuxOptions = nil }
	yes := true
	const sets = "SELinux is enforcing, and /etc/kubernetes/manifests/vipd.yaml sets no type for container vipd, container credentials"
	well := []string{"All is well"}
	diagnose(t, []diagnosis{
		{name: "enforcing, and vipd's own manifest", fault: func(s *site) {
			enforcing(s, "1")
			s.context = "system_u:system_r:spc_t:s0\x00"
			s.staticPod("vipd.yaml", vipdPod(t, same))
		}, verdict: well},
		{name: "permissive", fault: func(s *site) {
			enforcing(s, "0")
			s.context = "system_u:system_r:container_t:s0:c1,c2"
			s.staticPod("vipd.yaml", vipdPod(t, lax))
		}, verdict: well},
		{name: "not there", fault: func(s *site) { s.staticPod("vipd.yaml", vipdPod(t, lax)) }, verdict: well},
		{name: "privileged", fault: func(s *site) {
			enforcing(s, "1")
			s.context = "unconfined_u:unconfined_r:unconfined_t:s0"
			s.staticPod("vipd.yaml", vipdPod(t, func(p *corev1.Pod) {
				lax(p)
				for i := range p.Spec.Containers {
					p.Spec.Containers[i].SecurityContext.Privileged = &yes
				}
			}))
		}, verdict: well},
		{name: "no type", fault: func(s *site) {
			enforcing(s, "1")
			s.context = "unconfined_u:unconfined_r:unconfined_t:s0"
			s.staticPod("vipd.yaml", vipdPod(t, lax))
		},
			want: []found{{"D20", "warning", "manifest", sets}}, verdict: []string{better}},
		{name: "confined", fault: func(s *site) {
			enforcing(s, "1")
			s.context = "system_u:system_r:container_t:s0:c1,c2\x00"
			s.staticPod("vipd.yaml", vipdPod(t, lax))
		},
			want: []found{{"D20", "error", "confined", "SELinux is enforcing, and this container runs as system_u:system_r:container_t:s0:c1,c2"}}, verdict: []string{"SELinux denies vipd access to its files"}},
	})
}

// cloudInitState returns the content that cloud-init writes into status.json, with modules-final
// running from start to finished.
func cloudInitState(start time.Time, finished string) string {
	stage := `"modules-final"`
	if finished != "null" {
		stage = "null"
	}
	return fmt.Sprintf(`{"v1": {"datasource": "DataSourceVMware", "init": {"errors": [], "finished": 11.5, "recoverable_errors": {}, "start": 10.25}, "init-local": {"errors": [], "finished": 9.5, "start": 9.0},
 "modules-config": {"errors": [], "finished": 13.5, "start": 12.5}, "modules-final": {"errors": [], "finished": %s, "recoverable_errors": {}, "start": %d.25}, "stage": %s}}`, finished, start.Unix(), stage)
}

const (
	initOutput = "Cloud-init v. 24.4 running 'modules:final'\n[init] Using Kubernetes version: v1.33.4\n[preflight] Running pre-flight checks\n" +
		"[control-plane-check] Waiting for healthy control plane components. This can take up to 4m0s\n[control-plane-check] Checking kube-apiserver at https://192.168.35.100:6443/livez\n"
	joinOutput = "password: hunter2\n[bootstrap-token] Using token: abcdef.0123456789abcdef\n"
)

func TestDoctorBootstrap(t *testing.T) {
	capi := func(s *site, finished, output string) {
		s.files["/run/cluster-api/placeholder"] = "This placeholder file is used to create the /run/cluster-api sub directory"
		s.files["/run/cloud-init/status.json"] = cloudInitState(time.Now().Add(-time.Hour), finished)
		s.files["/var/log/cloud-init-output.log"] = output
	}
	well, failed := []string{"All is well"}, initOutput+"error: error execution phase wait-control-plane: failed while waiting for the control plane to start: context deadline exceeded\nTo see the stack trace of this error execute with --v=5 or higher\n"
	diagnose(t, []diagnosis{
		{name: "waits", fault: func(s *site) { capi(s, "null", initOutput) },
			want: []found{{"D29", "info", "running", `cloud-init is in modules-final for 1h0m...the last line of kubeadm is "[control-plane-check] Checking kube-apiserver at https://192.168.35.100:6443/livez"`}}, verdict: []string{better}},
		{name: "a token is not told", fault: func(s *site) { capi(s, "null", joinOutput) },
			want: []found{{"D29", "info", "running", `the last line of kubeadm is "[bootstrap-token] Using token: (token)"`}}, verdict: []string{better}},
		{name: "failed, and the rest goes on", fault: func(s *site) { capi(s, "null", failed) },
			want: []found{{"D29", "warning", "failed", "kubeadm failed in phase wait-control-plane"}}, verdict: []string{better}},
		{name: "failed", fault: func(s *site) { capi(s, "1764208000.5", failed) },
			want: []found{{"D29", "warning", "failed", "kubeadm failed in phase wait-control-plane"}}, verdict: []string{better}},
		{name: "ended without kubeadm", fault: func(s *site) { capi(s, "1764208000.5", "Cloud-init v. 24.4 running 'modules:final'\n") },
			want: []found{{"D29", "warning", "ended", "cloud-init has ended without /run/cluster-api/bootstrap-success.complete"}}, verdict: []string{better}},
		{name: "before kubeadm, as a command of cloud-init", fault: func(s *site) { s.preflight(); capi(s, "null", "Cloud-init v. 24.4 running 'modules:final'\n") }, verdict: well},
		{name: "finished", fault: func(s *site) {
			capi(s, "null", initOutput)
			s.files["/run/cluster-api/bootstrap-success.complete"] = "success\n"
		}, verdict: well},
		{name: "no Cluster API", fault: func(s *site) { capi(s, "null", initOutput); delete(s.files, "/run/cluster-api/placeholder") }, verdict: well},
		{name: "after a reboot", fault: func(s *site) { capi(s, "1764208000.5", initOutput); delete(s.files, "/run/cluster-api/placeholder") }, verdict: well},
		{name: "unreadable", fault: func(s *site) { capi(s, "null", initOutput); s.files["/run/cloud-init/status.json"] = "{" }, unknown: []string{"D29"}, verdict: []string{"No problems found; 1 of "}},
	})
}

// TestDoctorCA: a CA file without a certificate is a usage error.
func TestDoctorCA(t *testing.T) {
	s := newSite(t)
	s.furnish()
	cmd := s.command("--ca", "/etc/hosts")
	var errs strings.Builder
	cmd.Stderr = &errs
	must(t, s.node.Do(cmd.Start))
	if status := exitStatus(cmd.Wait()); status == 0 || !strings.Contains(errs.String(), "there is no certificate in /etc/hosts") {
		t.Errorf("exit status %d: %s", status, errs.String())
	}
}

package capi_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/vipd-io/vipd/e2e/lab"
)

// kubeVipPath is the manifest in CAPV's template.
const kubeVipPath = "/etc/kubernetes/manifests/kube-vip.yaml"

// Expectations of the two rollouts. kube-vip does not know that its node is drained: the VIP is silent
// until kube-vip's lease of 15 s is over, and the new holder has written its own name. On the way back,
// vipd hands over, but kube-vip looks at the Lease every two seconds only: usually the node with vipd has
// claimed the Lease again by then, as nobody else did, and goes with it. kube-vip tells no cause.
var (
	fromKubeVip = expectation{least: 1, most: 1, cause: regexp.MustCompile(`^(the lease of \S+ expired|nobody holds the lease)$`), costs: 20 * time.Second}
	toKubeVip   = expectation{least: 1, most: 2, cause: regexp.MustCompile(`^(node \S+ is (cordoned|being deleted))?$`), costs: 20 * time.Second}
)

// TestLoopMigration: a cluster that CAPV's own template made, with kube-vip (for the image of which a
// program stands in, e2e/kubeadm/kubevip). `vipd manifest migrate` converts the template, kubectl
// applies the result, and Cluster API replaces the machine with kube-vip by one with vipd. Then all of
// that in the other direction. One node answers at any time.
func TestLoopMigration(t *testing.T) {
	if !*flagLoop {
		return
	}
	l := newLoop(t)
	file := filepath.Join(t.TempDir(), "cluster.yaml")
	original := capvTemplate(t, l.ns)
	if err := os.WriteFile(file, []byte(original), 0o600); err != nil {
		t.Fatal(err)
	}
	l.apply(t, original)
	l.await(t, "the first control-plane node, with kube-vip", 5*time.Minute, func() error { return l.controlPlane(t, 1) })
	l.manages(t, kubeVipPath)
	l.baseline(t)

	cmd := exec.CommandContext(t.Context(), vipd, "manifest", "migrate", "--image", "vipd:lab", "--in-place", file)
	notes, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("vipd manifest migrate: %v\n%s", err, notes)
	}
	t.Logf("vipd manifest migrate:\n%s", notes)
	migrated, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	rolledOut := func() error { return errors.Join(l.controlPlane(t, 1), l.upToDate(t)) }
	l.step(t, "from kube-vip to vipd", 10*time.Minute, fromKubeVip, func() { l.apply(t, string(migrated)) }, rolledOut)
	l.manages(t, podPath)
	l.step(t, "back to kube-vip", 10*time.Minute, toKubeVip, func() { l.apply(t, original) }, rolledOut)
	l.manages(t, kubeVipPath)
	l.deleteCluster(t)
}

// placeholder matches a variable in a template of clusterctl, with its default.
var placeholder = regexp.MustCompile(`\$\{([A-Z_0-9]+)(?::=([^}]*))?\}`)

// capvTemplate returns CAPV's own template, with values for the simulated vCenter.
func capvTemplate(t *testing.T, ns string) string {
	t.Helper()
	text, err := os.ReadFile(binaries.CAPVTemplate("cluster-template.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{
		"CLUSTER_NAME": uat, "NAMESPACE": ns, "CONTROL_PLANE_ENDPOINT_IP": vip, "CONTROL_PLANE_MACHINE_COUNT": "1", "WORKER_MACHINE_COUNT": "0",
		"KUBERNETES_VERSION": lab.KubernetesVersion(), "VSPHERE_SERVER": management.VCenter.Server, "VSPHERE_DATACENTER": "Eshare-SRVs", "VSPHERE_DATASTORE": "LocalDS_0",
		"VSPHERE_FOLDER": "/Eshare-SRVs/vm/UAT-Servers/ClusterServers", "VSPHERE_RESOURCE_POOL": "CAPI_ClusterRP", "VSPHERE_NETWORK": "VM Network",
		"VSPHERE_TEMPLATE": "Alma-Clusterconfigtemplate", "VSPHERE_STORAGE_POLICY": "", "VSPHERE_TLS_THUMBPRINT": "", "VSPHERE_USERNAME": "user", "VSPHERE_PASSWORD": "pass",
		"VSPHERE_SSH_AUTHORIZED_KEY": "ssh-ed25519 AAAA",
	}
	return placeholder.ReplaceAllStringFunc(string(text), func(found string) string {
		m := placeholder.FindStringSubmatch(found)
		if value, known := values[m[1]]; known {
			return value
		}
		return m[2]
	})
}

// apply applies what a control plane needs of CAPV's template, by kubectl, with what the lab needs in
// addition: addresses from a pool, and fullClone, as the simulator has no snapshots.
func (l *loop) apply(t *testing.T, template string) {
	t.Helper()
	objects := clusterOf(t, l.ns)
	all := []*unstructured.Unstructured{objects[poolKind]}
	for text := range strings.SplitSeq(template, "\n---\n") {
		u := inNamespace(t, text, l.ns)
		if u.GetName() != uat {
			continue // the workers and the add-ons
		}
		switch u.GetKind() {
		case templateKind:
			spec := u.Object["spec"].(object)["template"].(object)["spec"].(object)
			spec["network"] = object{"devices": []any{device(t, objects)}}
			spec["cloneMode"] = "fullClone"
			delete(spec, "storagePolicyName")
		case "VSphereCluster":
			delete(u.Object["spec"].(object), "thumbprint")
		case "KubeadmControlPlane":
			merge(u.Object, testdata(t, "kcp-lab.yaml", l.ns)[0].Object)
		case "Cluster", "Secret":
		default:
			continue
		}
		all = append(all, u)
	}
	var input bytes.Buffer
	for _, u := range all {
		b, err := yaml.Marshal(u.Object)
		if err != nil {
			t.Fatal(err)
		}
		input.WriteString("---\n" + string(b))
	}
	cmd := exec.CommandContext(t.Context(), kubectl, "apply", "-f", "-")
	cmd.Env, cmd.Stdin = append(os.Environ(), "KUBECONFIG="+management.Kubeconfig()), &input
	out, err := cmd.CombinedOutput()
	t.Logf("kubectl apply:\n%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

// manages checks that each control-plane node that is on has exactly one manager's manifest.
func (l *loop) manages(t *testing.T, path string) {
	t.Helper()
	for _, g := range l.hypervisor.Guests() {
		out, err := g.Machine().Run(t.Context(), "sh", "-c", "ls /etc/kubernetes/manifests/*vip*.yaml")
		if got := strings.TrimSpace(out); err != nil || got != path {
			t.Errorf("%s has %q, %v, want %s", g.VM.Name, got, err, path)
		}
	}
}

package capi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// managed is a cluster "uat" in a namespace, with its control plane and an IP pool for its
// machines. The cluster has no fault unless a test changes it before its creation.
type managed struct {
	pool, kcp, cluster, vSphere *unstructured.Unstructured
	more                        []*unstructured.Unstructured
	config, pools, files        object // parts of the objects
	name                        string // name of the VIP, as passed to the doctor
}

// endpoint returns the endpoint in the Cluster or the VSphereCluster.
func endpoint(u *unstructured.Unstructured) object {
	return u.Object["spec"].(object)["controlPlaneEndpoint"].(object)
}

const (
	uat     = "uat"
	vipName = "kube-api-server.uat.local"
)

func newManaged(t *testing.T, namespace, subnet string) *managed {
	t.Helper()
	address := subnet + ".100"
	of := func(kind, api string, spec object) *unstructured.Unstructured {
		u := &unstructured.Unstructured{Object: object{"apiVersion": api, "kind": kind, "spec": spec}}
		u.SetName(uat)
		u.SetNamespace(namespace)
		u.SetLabels(map[string]string{"cluster.x-k8s.io/cluster-name": uat})
		return u
	}
	m := &managed{
		name: vipName,
		pools: object{"addresses": []any{subnet + ".0/24"}, "excludedAddresses": []any{subnet + ".90-" + subnet + ".110"}, "prefix": int64(24), "gateway": subnet + ".1",
			"addressReuseGracePeriodSeconds": int64(300)},
		files: object{"path": podPath, "content": manifest(t, "pod", "--address", address)},
	}
	spec := parse[object](t, `{version: v1.36.3, machineTemplate: {spec: {infrastructureRef: {apiGroup: infrastructure.cluster.x-k8s.io, kind: VSphereMachineTemplate, name: uat}}}}`)
	m.config = object{"files": []any{m.files}, "clusterConfiguration": object{"apiServer": object{"certSANs": []any{address, vipName}}}}
	spec["kubeadmConfigSpec"] = m.config
	m.pool = of("InClusterIPPool", "ipam.cluster.x-k8s.io/v1alpha2", m.pools)
	m.kcp = of("KubeadmControlPlane", "controlplane.cluster.x-k8s.io/v1beta2", spec)
	m.kcp.SetLabels(nil) // the Cluster refers to the KubeadmControlPlane
	m.cluster = of("Cluster", "cluster.x-k8s.io/v1beta2", object{"paused": true,
		"controlPlaneRef":      object{"apiGroup": "controlplane.cluster.x-k8s.io", "kind": "KubeadmControlPlane", "name": uat},
		"controlPlaneEndpoint": object{"host": address, "port": int64(6443)},
		"infrastructureRef":    object{"apiGroup": infrastructure, "kind": "VSphereCluster", "name": uat}})
	m.vSphere = of("VSphereCluster", infrastructure+"/v1beta1", object{"server": "vcenter.example", "controlPlaneEndpoint": object{"host": address, "port": int64(6443)}})
	return m
}

// doctorKubeconfig returns a kubeconfig with only the rights in manifests/doctor-rbac.yaml.
func doctorKubeconfig(t *testing.T) string {
	t.Helper()
	const who = "somebody"
	b, err := os.ReadFile("../../../manifests/doctor-rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	role := &unstructured.Unstructured{Object: parse[object](t, string(b))}
	binding := &unstructured.Unstructured{Object: object{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": object{"name": who},
		"roleRef":  object{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role.GetName()},
		"subjects": []any{object{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": who}}}}
	create(t, role, binding)
	config, err := management.AddUser(who)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// diagnosis is what the doctor says.
type diagnosis struct {
	exit    int
	verdict string
	found   []string            // findings by ID and mark
	remedy  map[string][]string // by finding
}

// diagnose runs the doctor on the management side.
func diagnose(t *testing.T, kubeconfig, namespace, name string) diagnosis {
	t.Helper()
	return runDoctor(t, nil, "--management-kubeconfig", kubeconfig, "--cluster", namespace+"/"+uat, "--name", name, "--skip", "D13") // D13: this machine has its own name servers
}

// runDoctor runs the doctor in the network of the management cluster, with a command before it.
func runDoctor(t *testing.T, before []string, args ...string) diagnosis {
	t.Helper()
	argv := slices.Concat(before, []string{vipd, "doctor", "-o", "json"}, args)
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	// vipd must not read the settings of the lab.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "VIPD_") })
	out, err := cmd.Output()
	d := diagnosis{remedy: make(map[string][]string)}
	if status, ok := errors.AsType[*exec.ExitError](err); ok {
		d.exit = status.ExitCode()
		out = append(out, status.Stderr...)
	}
	d.read(t, out)
	return d
}

// read reads the doctor's document.
func (d *diagnosis) read(t *testing.T, document []byte) {
	t.Helper()
	var r struct {
		Verdict []string
		Results []struct {
			ID, Unknown string
			Findings    []struct {
				ID, Mark, Seen string
				Mend           []string
			}
		}
	}
	if err := json.Unmarshal(document, &r); err != nil {
		t.Fatalf("exit status %d, and no document: %v: %s", d.exit, err, document)
	}
	for _, res := range r.Results {
		if res.Unknown != "" {
			t.Errorf("%s could not look: %s", res.ID, res.Unknown)
		}
		for _, f := range res.Findings {
			t.Logf("%s %s: %s; %q", f.ID, f.Mark, f.Seen, f.Mend)
			name := strings.TrimSpace(f.ID + " " + f.Mark)
			d.found = append(d.found, name)
			d.remedy[name] = append(d.remedy[name], f.Mend...)
		}
	}
	d.verdict = strings.Join(r.Verdict, " ")
}

// TestDoctor: objects of a management cluster with and without faults.
func TestDoctor(t *testing.T) {
	const kubeVip = `{apiVersion: v1, kind: Pod, metadata: {name: kube-vip}, spec: {containers: [{name: kube-vip, image: "ghcr.io/kube-vip/kube-vip:v1.0.2"}]}}`
	kubeconfig := doctorKubeconfig(t)
	for i, test := range []struct {
		name    string
		fault   func(m *managed, subnet string)
		want    []string
		verdict string
	}{
		{"well", func(*managed, string) {}, nil, "All is well"},
		{"a pool for other machines", func(m *managed, _ string) {
			m.pools["addresses"], m.pools["prefix"], m.pools["gateway"] = []any{"10.9.0.0/16"}, int64(16), ""
		}, nil, "All is well"},
		{"VIP not excluded", func(m *managed, _ string) { delete(m.pools, "excludedAddresses") }, []string{"D11 contains"}, "The IP pool will allocate the VIP"},
		{"VIP in a range", func(m *managed, subnet string) {
			m.pools["addresses"] = []any{subnet + ".20", subnet + ".99-" + subnet + ".101"}
			m.pools["excludedAddresses"] = []any{subnet + ".101"}
		}, []string{"D11 contains"}, "The IP pool will allocate the VIP"},
		{"a global pool", func(m *managed, _ string) {
			m.pool.SetKind("GlobalInClusterIPPool")
			m.pool.SetName(m.pool.GetNamespace())
			m.pool.SetNamespace("")
			delete(m.pools, "excludedAddresses")
		}, []string{"D11 contains"}, "The IP pool will allocate the VIP"},
		{"no gateway", func(m *managed, _ string) { delete(m.pools, "gateway") }, []string{"D11 no gateway"}, "This is not a CAPV fault and not vipd: the IP pool has no gateway"},
		{"gateway outside of the prefix", func(m *managed, subnet string) {
			m.pools["addresses"], m.pools["prefix"] = []any{subnet + ".64/26"}, int64(26)
		}, []string{"D11 gateway outside"}, "This is not a CAPV fault and not vipd"},
		{"VIP is the gateway", func(m *managed, subnet string) {
			m.pools["gateway"] = subnet + ".100"
			delete(m.pools, "excludedAddresses")
		}, []string{"D11 gateway"}, "The VIP is not usable"},
		{"VIP handed out", func(m *managed, subnet string) {
			m.more = append(m.more, &unstructured.Unstructured{Object: object{"apiVersion": "ipam.cluster.x-k8s.io/v1beta2", "kind": "IPAddress",
				"metadata": object{"name": "taken", "namespace": m.cluster.GetNamespace()},
				"spec": object{"address": subnet + ".100", "prefix": int64(24), "gateway": subnet + ".1", "claimRef": object{"name": "machine-7"},
					"poolRef": object{"apiGroup": "ipam.cluster.x-k8s.io", "kind": "InClusterIPPool", "name": uat}}}})
		}, []string{"D11 handed out"}, "A machine has the VIP as its own address"},
		{"addresses given again at once", func(m *managed, _ string) { delete(m.pools, "addressReuseGracePeriodSeconds") }, []string{"D12"}, "Nothing is broken"},
		{"another address than the endpoint", func(m *managed, subnet string) {
			m.files["content"] = strings.ReplaceAll(m.files["content"].(string), subnet+".100", subnet+".109")
		}, []string{"D30 address"}, "wrong"},
		{"Jinja in the manifest", func(m *managed, _ string) { m.files["content"] = m.files["content"].(string) + "# {# note\n" }, []string{"D30 content"}, "wrong"},
		{"a comment of Jinja in another file", func(m *managed, _ string) {
			m.config["files"] = []any{m.files, object{"path": "/root/a.sh", "content": "echo ${#list[@]}\n"}}
		}, []string{"D30 content"}, "wrong"},
		{"another port than the endpoint's", func(m *managed, _ string) {
			endpoint(m.cluster)["port"], endpoint(m.vSphere)["port"] = int64(8443), int64(8443)
		}, []string{"D30 port"}, "wrong"},
		{"another endpoint of the VSphereCluster", func(m *managed, subnet string) { endpoint(m.vSphere)["host"] = subnet + ".200" }, []string{"D30 endpoints"}, "have different endpoints"},
		{"no endpoint of the Cluster yet", func(m *managed, _ string) { delete(m.cluster.Object["spec"].(object), "controlPlaneEndpoint") }, nil, "All is well"},
		{"no certificate for the name", func(m *managed, _ string) { m.name = "api.uat.local" }, []string{"D30 name"}, "wrong"},
		{"VIP is the gateway, and not handed out", func(m *managed, subnet string) { m.pools["gateway"] = subnet + ".100" }, []string{"D11 gateway"}, "The VIP is not usable"},
		{"VIP in the Service CIDR", func(m *managed, subnet string) {
			m.cluster.Object["spec"].(object)["clusterNetwork"] = object{"services": object{"cidrBlocks": []any{"fd00::/112", subnet + ".96/27"}}}
		}, []string{"D32 services"}, "Kubernetes may give the address of the VIP"},
		{"VIP in the pod CIDR", func(m *managed, subnet string) {
			m.cluster.Object["spec"].(object)["clusterNetwork"] = object{"services": object{"cidrBlocks": []any{"10.213.0.0/21"}}, "pods": object{"cidrBlocks": []any{subnet + ".0/24"}}}
		}, []string{"D32 pods"}, "Kubernetes may give the address of the VIP"},
		{"VIP in kubeadm's default", func(m *managed, subnet string) {
			endpoint(m.cluster)["host"], endpoint(m.vSphere)["host"] = "10.96.0.10", "10.96.0.10"
			m.files["content"] = strings.ReplaceAll(m.files["content"].(string), subnet+".100", "10.96.0.10")
		}, []string{"D32 services"}, "Kubernetes may give the address of the VIP"},
		{"kube-vip and vipd", func(m *managed, _ string) {
			m.config["files"] = []any{m.files, object{"path": "/etc/kubernetes/manifests/kube-vip.yaml", "content": kubeVip}}
			m.config["preKubeadmCommands"] = []any{"sed -i 's#admin#super-admin#' /etc/kubernetes/manifests/kube-vip.yaml"}
		}, []string{"D25 both"}, "both kube-vip and vipd"},
		{"kube-vip alone", func(m *managed, _ string) {
			m.files["path"], m.files["content"] = "/etc/kubernetes/manifests/kube-vip.yaml", kubeVip
		}, []string{"D25 in the control plane"}, "Nothing is broken"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ns, subnet := newNamespace(t), fmt.Sprintf("192.168.%d", 100+i)
			m := newManaged(t, ns, subnet)
			test.fault(m, subnet)
			create(t, append(m.more, m.pool, m.cluster, m.vSphere, m.kcp)...)
			d := diagnose(t, kubeconfig, ns, m.name)
			if (d.exit != 0) != (len(test.want) > 0 && test.want[0] != "D12") || !slices.Equal(d.found, test.want) || !strings.Contains(d.verdict, test.verdict) {
				t.Errorf("exit status %d, %q, %q; want %q, %q", d.exit, d.verdict, d.found, test.want, test.verdict)
			}
		})
	}
}

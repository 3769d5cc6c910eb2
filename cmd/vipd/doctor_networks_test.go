package main

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// componentPod returns a static pod of the control plane with options, as kubeadm writes it.
func componentPod(name string, options ...string) string {
	text := "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + ", namespace: kube-system}\nspec:\n  containers:\n  - name: " + name + "\n    image: registry.k8s.io/" + name + ":v1.36.3\n    command:\n    - " + name + "\n"
	for _, o := range options {
		text += fmt.Sprintf("    - %q\n", o)
	}
	return text
}

// TestDoctorClusterNetworks: Kubernetes may give the VIP to a Service or a pod.
func TestDoctorClusterNetworks(t *testing.T) {
	const given = "Kubernetes may give the address of the VIP to a Service or a pod"
	well := []string{"All is well"}
	server := func(options ...string) func(*site) {
		return func(s *site) { s.staticPod("kube-apiserver.yaml", componentPod("kube-apiserver", options...)) }
	}
	manager := func(options ...string) func(*site) {
		return func(s *site) {
			s.staticPod("kube-controller-manager.yaml", componentPod("kube-controller-manager", options...))
		}
	}
	kubeadm := func(networking string) func(*site) {
		return func(s *site) {
			s.preflight()
			s.files["/run/kubeadm/kubeadm.yaml"] = "## template: none\n---\napiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n" + networking + "---\napiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\n"
		}
	}
	diagnose(t, []diagnosis{
		{name: "Service CIDR", fault: server("--secure-port=6443", "--service-cluster-ip-range=192.168.0.0/18"),
			want: []found{{"D32", "error", "services", "the VIP " + testVIP + " is in the Service CIDR 192.168.0.0/18 of the cluster (--service-cluster-ip-range of kube-apiserver)"}}, verdict: []string{given}},
		{name: "Service CIDR, the second of two, as two words", fault: server("--service-cluster-ip-range", "fd00::/112,192.168.35.0/24"),
			want: []found{{"D32", "error", "services", "192.168.35.0/24"}}, verdict: []string{given}},
		{name: "pod CIDR", fault: manager("--allocate-node-cidrs=true", "--cluster-cidr=192.168.0.0/16"),
			want: []found{{"D32", "error", "pods", "the VIP " + testVIP + " is in the pod CIDR 192.168.0.0/16 of the cluster (--cluster-cidr of kube-controller-manager)"}}, verdict: []string{given}},
		{name: "podCIDR of a node", fault: func(s *site) {
			s.objects.nodes = append(s.objects.nodes, nodeAt("n3", "192.168.35.13"))
			s.objects.nodes[2].Spec = corev1.NodeSpec{PodCIDRs: []string{"192.168.35.64/26"}}
		}, want: []found{{"D32", "error", "pods", "192.168.35.64/26 of the cluster (podCIDR of node n3)"}}, verdict: []string{given}},
		{name: "before kubeadm", fault: kubeadm("networking: {serviceSubnet: 192.168.0.0/16}\n"),
			want: []found{{"D32", "error", "services", "(networking.serviceSubnet in /run/kubeadm/kubeadm.yaml)"}}, verdict: []string{given}},
		{name: "pods, before kubeadm", fault: kubeadm("networking: {podSubnet: \"10.244.0.0/16,192.168.35.0/24\"}\n"),
			want: []found{{"D32", "error", "pods", "(networking.podSubnet in /run/kubeadm/kubeadm.yaml)"}}, verdict: []string{given}},

		{name: "other ranges", fault: func(s *site) {
			server("--service-cluster-ip-range=10.96.0.0/12")(s)
			manager("--cluster-cidr=10.244.0.0/16", "--service-cluster-ip-range=10.96.0.0/12")(s)
		}, verdict: well},
		{name: "kubeadm's default", fault: kubeadm(""), verdict: well},
		{name: "a machine that joins", fault: func(s *site) {
			s.preflight()
			s.files["/run/kubeadm/kubeadm.yaml"] = "kind: JoinConfiguration\n"
		}, verdict: well},
		{name: "unreadable", fault: func(s *site) {
			s.preflight()
			s.files["/run/kubeadm/kubeadm.yaml"] = "kind: {\n"
		}, unknown: []string{"D32"}, verdict: []string{"No problems found; 1 of"}},
	})
}

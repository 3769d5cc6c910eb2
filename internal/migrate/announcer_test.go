package migrate

import (
	"strings"
	"testing"
)

// servicesPod returns kubeVip for Services only.
func servicesPod(env ...string) string {
	pod := kubeVip(append([]string{`svc_enable="true"`}, env...)...)
	pod = strings.Replace(pod, "    - name: cp_enable\n      value: \"true\"\n", "", 1)
	return strings.Replace(pod, "  name: kube-vip\n", "  name: kube-vip-services\n", 1)
}

// argument adds an argument of kube-vip.
func argument(manifest, words string) string {
	return strings.Replace(manifest, "- manager\n", "- manager\n"+words, 1)
}

// TestAnnouncers: a kube-vip for Services only stays, with what it needs; one that may hold the
// address of the control plane is not taken for one.
func TestAnnouncers(t *testing.T) {
	const beside = "/etc/kubernetes/manifests/kube-vip-services.yaml"
	const prepare = "sed -i 's#admin.conf#super-admin.conf#' "
	both := controlPlane("KubeadmControlPlane", entry(onNode, kubeVip()), entry(beside, servicesPod()))
	hosts := strings.Replace(servicesPod(), "  volumes:\n", "  volumes:\n  - hostPath:\n      path: /etc/kube-vip.hosts\n    name: hosts\n", 1)
	ds := daemonSet(servicesPod())
	for name, c := range map[string]shape{
		"one of Helm":              {src: strings.Replace(daemonSet(kubeVip()), "metadata:\n", "metadata:\n  annotations: {meta.helm.sh/release-name: ha}\n", 1), says: "uninstall the release ha, or Helm brings kube-vip back", out: "name: vipd"},
		"one in another namespace": {src: strings.Replace(daemonSet(kubeVip()), "namespace: kube-system", "namespace: vip", 1), says: "vipd's DaemonSet is in the namespace kube-system, not in vip", out: "name: vipd"},
		"an image of another name": {src: strings.Replace(kubeVip(), "ghcr.io/kube-vip/kube-vip:", "example.com/ha/vip:", 1), says: "vipd does not know kube-vip by the image example.com/ha/vip:v1.0.3", out: "name: vipd"},
		"in files":                 {src: both, says: "this Pod of kube-vip announces Services only, and was not changed", out: "path: " + beside},
		"the other one is vipd's":  {src: both, out: "path: /etc/kubernetes/manifests/vipd.yaml"},
		"as a document":            {src: servicesPod() + "---\n" + kubeVip(), says: "listens on port 2112 of the node", out: "name: vipd\n"},
		"with a port of its own":   {src: servicesPod(`prometheus_server=":2113"`) + "---\n" + kubeVip(), says: "does not use vipd's Lease\n", out: "name: vipd\n"},
		"alone":                    {src: servicesPod(), refused: true, at: "- args", says: "it announces Services, which vipd does not"},
		"in a class":               {src: "kind: KubeadmControlPlaneTemplate\nspec:\n  template:\n    spec:\n      kubeadmConfigSpec:\n        files:\n        - path: " + onNode + "\n          content: \"\"\n        - " + indented(entry(beside, servicesPod()), 10), kept: true, says: "announces Services only"},
		"alone, neither":           {src: strings.Replace(servicesPod(), "svc_enable", "svc_election", 1), refused: true, at: "- args", says: "nor does it announce Services"},
		"a DaemonSet, neither":     {src: strings.Replace(ds, "svc_enable", "svc_election", 1), kept: true, says: "holds no address for the control plane"},
		"its command stays":        {src: both + "    preKubeadmCommands:\n    - " + prepare + beside + "\n", out: prepare + beside},
		"a command for the other":  {src: both + "    preKubeadmCommands:\n    - echo\n    - " + prepare + onNode + "\n", says: "command dropped"},
		"its hosts stay":           {src: controlPlane("KubeadmControlPlane", entry(onNode, kubeVip()), entry(beside, hosts), entry("/etc/kube-vip.hosts", "127.0.0.1 kubernetes\n")), out: "path: /etc/kube-vip.hosts\n      content"},
		"hosts of the other":       {src: controlPlane("KubeadmControlPlane", entry(onNode, kubeVip()), entry(beside, servicesPod()), entry("/etc/kube-vip.hosts", "127.0.0.1 kubernetes\n")), says: "/etc/kube-vip.hosts dropped"},
		"by an argument":           {src: argument(ds, "        - --controlplane\n"), refused: true, at: "--controlplane", says: "with the argument --controlplane kube-vip may hold"},
		"by an argument, a value":  {src: argument(servicesPod(), "    - --controlplane=true\n"), refused: true, at: "--controlplane", says: "may hold the address of the control plane"},
		"not by an argument":       {src: argument(ds, "        - --controlplane=false\n"), kept: true, says: "announces Services only"},
		"a variable has the word":  {src: argument(daemonSet(servicesPod(`cp_enable="false"`)), "        - --controlplane\n"), kept: true, says: "announces Services only"},
		"by a file":                {src: argument(ds, "        - --config-file=/etc/vip.yaml\n"), refused: true, at: "--config-file", says: "may hold the address"},
		"by a file in a variable":  {src: daemonSet(servicesPod("config_file=/etc/vip.yaml")), refused: true, at: "config_file", says: "the file /etc/vip.yaml may set it"},
		"a placeholder, a Pod":     {src: strings.Replace(kubeVip(), "cp_enable\n      value: \"true\"", "cp_enable\n      value: ${CP}", 1), says: "cp_enable=${CP}: assumed to be true", out: "name: vipd"},
		"a placeholder, svc": {src: strings.Replace(ds, `svc_enable
          value: "true"`, "svc_enable\n          value: ${S}", 1), refused: true, at: "svc_enable", says: "cannot tell from ${S} whether svc_enable is on"},
	} {
		t.Run(name, c.run)
	}
}

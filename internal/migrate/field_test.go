package migrate

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// kubeVip returns a static pod of kube-vip with the given variables, NAME=VALUE with the value as
// written in YAML, beside vip_arp, cp_enable and the address.
func kubeVip(env ...string) string {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: Pod\nmetadata:\n  name: kube-vip\n  namespace: kube-system\nspec:\n  containers:\n  - args:\n    - manager\n    env:\n")
	for _, e := range append([]string{`vip_arp="true"`, `cp_enable="true"`, "address=192.168.35.100"}, env...) {
		name, value, _ := strings.Cut(e, "=")
		fmt.Fprintf(&b, "    - name: %s\n      value: %s\n", name, value)
	}
	b.WriteString(`    image: ghcr.io/kube-vip/kube-vip:v1.0.3
    name: kube-vip
    volumeMounts:
    - mountPath: /etc/kubernetes/admin.conf
      name: kubeconfig
  hostNetwork: true
  volumes:
  - hostPath:
      path: /etc/kubernetes/admin.conf
    name: kubeconfig
`)
	return b.String()
}

// started returns the pod with a command in place of its args.
func started(command string) string {
	return strings.Replace(kubeVip(), "- args:\n    - manager\n", "- command: "+command+"\n", 1)
}

// under returns a text indented by n spaces, behind its heading.
func under(heading, text string, n int) string {
	return heading + "\n" + strings.Repeat(" ", n) + indented(strings.TrimSuffix(text, "\n"), n) + "\n"
}

// entry returns an entry of files, without a dash.
func entry(path, content string) string {
	return "path: " + path + "\n" + under("content: |", content, 2)
}

// controlPlane returns an object of that kind with entries of files.
func controlPlane(kind string, entries ...string) string {
	s := "apiVersion: controlplane.cluster.x-k8s.io/v1beta1\nkind: " + kind + "\nmetadata:\n  name: edge\nspec:\n  kubeadmConfigSpec:\n    files:\n"
	for _, e := range entries {
		s += "    - " + indented(strings.TrimSuffix(e, "\n"), 6) + "\n"
	}
	return s
}

// classWith returns a ClusterClass with a patch for each entry of files.
func classWith(entries ...string) string {
	s := "kind: ClusterClass\nspec:\n  patches:\n  - definitions:\n    - jsonPatches:\n"
	for _, e := range entries {
		s += "      - op: add\n        path: /spec/template/spec/kubeadmConfigSpec/files/-\n        valueFrom:\n" + under("          template: |", e, 12)
	}
	return s
}

// daemonSet turns the pod into a DaemonSet.
func daemonSet(pod string) string {
	pod = strings.Replace(pod, "apiVersion: v1\nkind: Pod", "apiVersion: apps/v1\nkind: DaemonSet", 1)
	before, spec, _ := strings.Cut(pod, "\nspec:\n")
	return before + "\nspec:\n  selector:\n    matchLabels: {app: kube-vip}\n  template:\n    metadata:\n      labels: {app: kube-vip}\n" + under("    spec:", spec, 4)
}

const onNode = "/etc/kubernetes/manifests/kube-vip.yaml"

// TestField: manifests in the shapes of public reports.
func TestField(t *testing.T) {
	const rke2 = "/var/lib/rancher/rke2"
	inCluster, _, _ := strings.Cut(daemonSet(kubeVip()), "        volumeMounts:")
	inCluster += "      serviceAccountName: kube-vip\n"
	kcp := controlPlane("KubeadmControlPlane", entry(onNode, kubeVip()))
	for name, c := range map[string]shape{
		// Settings with which clients connect elsewhere.
		"lb_port, while lb_enable is on":  {src: kubeVip(`port="6443"`, `lb_enable="true"`, `lb_port="16443"`), refused: true, at: "lb_port", says: "clients connect to port 16443 of the address"},
		"lb_port by default":              {src: kubeVip(`port="8443"`, `lb_enable="True"`), refused: true, says: "clients connect to port 6443"},
		"lb_port, while lb_enable is off": {src: kubeVip(`lb_port="16443"`, `lb_enable="false"`), out: "name: vipd"},
		"lb_port, perhaps on":             {src: kubeVip(`lb_port="16443"`, `lb_enable="${LB}"`), says: "if lb_enable=${LB} is on: lb_port=16443: clients connect"},
		"lb_port, on by default":          {src: kubeVip(`lb_port="16443"`, `lb_enable="${LB:=true}"`), refused: true, says: "clients connect to port 16443"},
		"lb_port unknown":                 {src: kubeVip(`lb_port="${P}"`, `lb_enable="true"`), says: "check that both are the same"},
		"lb_port the same unknown":        {src: kubeVip(`lb_port="${P}"`, `port="${P}"`, `lb_enable="true"`), out: `value: "${P}"`},
		"vip_subnet":                      {src: kubeVip(`vip_subnet="27"`), says: "vip_subnet=27: vipd gives the address the prefix length 32", out: "name: vipd"},
		"vip_cidr":                        {src: kubeVip(`vip_cidr="24"`), says: "vip_cidr=24: vipd gives", out: "name: vipd"},
		"vip_subnet unknown":              {src: kubeVip(`vip_subnet=${PREFIX}`), says: "if this is another prefix length than 32", out: "name: vipd"},
		"vip_interface lo":                {src: kubeVip("vip_interface=lo"), refused: true, says: "nobody is reached by ARP"},
		"an address moved by a cloud":     {src: kubeVip(`vip_packet="true"`), refused: true, says: "vip_packet=true"},

		// Booleans that are not understood are not false.
		"escaped quotes": {src: kubeVip(`bgp_enable=\"true\"`), refused: true, at: "bgp_enable", says: "is neither true nor false"},
		"yes": {src: strings.Replace(kubeVip(), `cp_enable
      value: "true"`, `cp_enable
      value: "yes"`, 1), refused: true, at: "cp_enable", says: "cp_enable=yes is neither true nor false"},
		"DaemonSet, escaped":     {src: strings.Replace(daemonSet(kubeVip()), "cp_enable\n          value: \"true\"", "cp_enable\n          value: \\\"true\\\"", 1), refused: true, says: "neither true nor false"},
		"DaemonSet, placeholder": {src: strings.Replace(daemonSet(kubeVip()), "cp_enable\n          value: \"true\"", "cp_enable\n          value: ${ENABLE}", 1), refused: true, says: "cannot tell from ${ENABLE} whether cp_enable is on"},
		"DaemonSet for Services": {src: strings.Replace(daemonSet(kubeVip(`svc_enable="true"`)), "cp_enable\n          value: \"true\"", "cp_enable\n          value: \"false\"", 1), says: "announces Services only", kept: true},

		// Scripts.
		"a script echoes a DaemonSet": {src: controlPlane("KubeadmControlPlane", entry("/run/vip.sh", "#!/bin/sh\necho \""+strings.ReplaceAll(strings.TrimSpace(daemonSet(kubeVip())), `"`, `\"`)+"\" > /run/vip.yaml\n")),
			refused: true, at: "kind: DaemonSet", says: scripted},
		"a script without its first line": {src: controlPlane("KubeadmControlPlane", entry("/run/vip.sh", "echo \""+strings.ReplaceAll(strings.TrimSpace(daemonSet(kubeVip())), `"`, `\"`)+"\" > /run/vip.yaml\n")),
			refused: true, says: scripted},
		"a script as a file":                {src: "#!/bin/sh\necho \"" + strings.ReplaceAll(strings.TrimSpace(daemonSet(kubeVip())), `"`, `\"`) + "\" > /run/vip.yaml\n", refused: true, at: "#!/bin/sh", says: "this is a script"},
		"a heredoc":                         {src: controlPlane("KubeadmControlPlane", entry("/run/vip.sh", "#!/bin/sh\ncat > /run/vip.yaml <<EOF\n"+kubeVip()+"EOF\n")), refused: true, at: "kind: Pod", says: scripted},
		"a heredoc in a command":            {src: "kind: KubeadmControlPlane\nspec:\n  kubeadmConfigSpec:\n    preKubeadmCommands:\n" + under("    - |", "cat > /run/vip.yaml <<EOF\n"+kubeVip()+"EOF\n", 6), refused: true, at: "cat >", says: scripted},
		"a command of RKE2":                 {src: "kind: RKE2ControlPlane\nspec:\n  preRKE2Commands:\n  - kube-vip manifest daemonset --controlplane > /run/vip.yaml\n", refused: true, at: "--controlplane", says: "a command writes"},
		"a command of cloud-init":           {src: "#cloud-config\nruncmd:\n- kube-vip manifest pod --controlplane | tee /etc/kubernetes/manifests/kube-vip.yaml\n", refused: true, at: "--controlplane", says: "a command writes"},
		"a script for Services only, stays": {src: controlPlane("KubeadmControlPlane", entry(onNode, kubeVip()), entry("/run/vip.sh", "#!/bin/sh\ncat > /run/vip.yaml <<EOF\n"+strings.Replace(daemonSet(kubeVip(`svc_enable="true"`)), "cp_enable\n          value: \"true\"", "cp_enable\n          value: \"false\"", 1)+"EOF\n")), out: "manifests/vipd.yaml"},

		// Leases beside an old kube-vip, which does not read their length.
		"v0.5":               {src: strings.Replace(kubeVip(`vip_leaseduration="15"`, `vip_renewdeadline="10"`, `vip_retryperiod="2"`), ":v1.0.3", ":v0.5.12", 1), says: "waits for its own lease duration", out: "- name: VIPD_MAX_LEASE_DURATION\n      value: \"15s\"\n"},
		"v0.6.0":             {src: strings.Replace(kubeVip(`vip_leaseduration=${L:=15}`), ":v1.0.3", ":v0.6.0", 1), out: "- name: VIPD_MAX_LEASE_DURATION\n      value: \"${L:=15}s\"\n"},
		"an unknown version": {src: strings.Replace(kubeVip(), ":v1.0.3", "@sha256:00", 1), says: "waits for its own lease duration", out: "- name: VIPD_MAX_LEASE_DURATION\n      value: \"15s\"\n"},
		"v0.6.1":             {src: strings.Replace(kubeVip(), ":v1.0.3", ":v0.6.1", 1), out: "- name: VIPD_RENEW_INTERVAL\n      value: \"1s\"\n    #"},
		"v0.10":              {src: strings.Replace(kubeVip(), ":v1.0.3", ":v0.10", 1), out: "- name: VIPD_RENEW_INTERVAL\n      value: \"1s\"\n    #"},

		// The oldest form.
		"start":            {src: strings.Replace(strings.Replace(kubeVip(`vip_leaderelection="true"`), "- manager", "- start", 1), "    - name: cp_enable\n      value: \"true\"\n", "", 1), refused: true, at: "start", says: "oldest form"},
		"start, DaemonSet": {src: strings.Replace(daemonSet(kubeVip()), "- manager", "- start", 1), refused: true, says: "oldest form"},
		"start with Raft":  {src: strings.Replace(kubeVip("vip_localpeer=n1:192.168.35.11:10000"), "- manager", "- start", 1), refused: true, says: "Raft"},

		// The words with which the container starts.
		"command, etcd":          {src: started("[/kube-vip, manager, --leaderElectionType=etcd]"), refused: true, at: "command", says: "etcd for its election"},
		"command, etcd apart":    {src: started("[/usr/bin/kube-vip, manager, --leaderElectionType, etcd]"), refused: true, at: "command", says: "etcd for its election"},
		"command, start":         {src: started("[/kube-vip, start]"), refused: true, at: "command", says: "oldest form"},
		"command, an argument":   {src: started("[/kube-vip, manager, --vip, 10.0.0.9]"), refused: true, at: "command", says: "argument --vip is not known"},
		"command, with args":     {src: strings.Replace(kubeVip(), "- args:", "- command: [/kube-vip]\n    args:", 1), out: "name: vipd"},
		"command, a shell":       {src: started(`[/bin/sh, -c, "vip_interface=$(cat /run/nic) /kube-vip manager"]`), refused: true, at: "command", says: "from a shell"},
		"command, a wrapper":     {src: started("[/opt/wrap, /kube-vip, manager]"), refused: true, at: "command", says: "starts /opt/wrap"},
		"command, a placeholder": {src: started("[\"${BIN}\", manager]"), refused: true, at: "command", says: "starts ${BIN}"},
		"command, a string":      {src: started("/kube-vip manager"), refused: true, at: "command", says: "command is not a list"},
		"command, DaemonSet":     {src: daemonSet(started("[/kube-vip, start]")), refused: true, says: "oldest form"},

		// Several manifests, and names.
		"two manifests in one folder":       {src: controlPlane("KubeadmControlPlane", entry("/etc/kubernetes/manifests/kube-vip-a.yaml", kubeVip()), entry("/etc/kubernetes/manifests/kube-vip-b.yaml", kubeVip("vip_leasename=b"))), refused: true, says: "kube-vip-b.yaml and /etc/kubernetes/manifests/kube-vip-a.yaml, would both become /etc/kubernetes/manifests/vipd.yaml"},
		"one for the first node":            {src: controlPlane("KubeadmControlPlane", entry("/srv/first-vip.yml", kubeVip()), entry("/srv/next-vip.yml", kubeVip())), refused: true, at: "/srv/first-vip.yml", says: "would both become /srv/vipd.yaml"},
		"one of them in a patch of a class": {src: classWith(entry("/srv/a.yaml", kubeVip()), entry("/srv/b.yaml", kubeVip())), refused: true, says: "would both become /srv/vipd.yaml"},
		"another file is in the way":        {src: controlPlane("KubeadmControlPlane", entry("/etc/kubernetes/manifests/vipd.yaml", "x: y\n"), entry(onNode, kubeVip())), refused: true, at: onNode, says: "would become /etc/kubernetes/manifests/vipd.yaml, which is another file"},
		"one name twice":                    {src: controlPlane("KubeadmControlPlane", entry(onNode, kubeVip()), entry(onNode, kubeVip())), refused: true, at: onNode, says: "two entries have the path"},
		"two folders": {src: controlPlane("KubeadmControlPlane", entry("/srv/a/kube-vip.yaml", kubeVip()), entry("/srv/b/kube-vip.yaml", kubeVip())) + "    preKubeadmCommands:\n    - cp /srv/a/kube-vip.yaml /root/1; cp '/srv/b/kube-vip.yaml' /root/2\n",
			says: "refers to /srv/a/kube-vip.yaml and /srv/b/kube-vip.yaml and was changed", out: "cp /srv/a/vipd.yaml /root/1; cp '/srv/b/vipd.yaml' /root/2\n"},
		"two objects":    {src: controlPlane("KubeadmControlPlane", entry("/srv/kube-vip-a.yaml", kubeVip())) + "---\n" + controlPlane("KubeadmControlPlane", entry("/srv/kube-vip-b.yaml", kubeVip())), out: "path: /srv/vipd.yaml"},
		"a list of two":  {src: "kind: List\nitems:\n- " + indented(controlPlane("KubeadmControlPlane", entry("/srv/kube-vip-a.yaml", kubeVip())), 2) + "\n- " + indented(controlPlane("KubeadmControlPlane", entry("/srv/kube-vip-b.yaml", kubeVip())), 2), out: "path: /srv/vipd.yaml"},
		"a longer name":  {src: kcp + "    preKubeadmCommands:\n    - \"diff " + onNode + ".in " + onNode + "\\n\"\n", says: "was changed to vipd.yaml", out: "diff " + onNode + ".in /etc/kubernetes/manifests/vipd.yaml\\n"},
		"a sentence end": {src: kcp + "    preKubeadmCommands:\n    - echo wrote " + onNode + ".\n", out: "echo wrote /etc/kubernetes/manifests/vipd.yaml.\n"},

		// Scripts that do more than prepare kube-vip's manifest.
		"a script with a route": {src: controlPlane("KubeadmControlPlane", entry(onNode, kubeVip()), entry("/opt/kube-vip-first.sh", "sed -i 's#admin.conf#super-admin.conf#' "+onNode+"\nip route add 10.8.0.0/16 dev eth1\n")), says: "/opt/kube-vip-first.sh refers to", out: "ip route add 10.8.0.0/16 dev eth1\n"},

		// Templates that write their own quotes.
		"quote":     {src: classWith(entry(onNode, kubeVip("vip_interface={{ .nic | quote }}"))), refused: true, at: ".nic", says: "writes quotes of its own"},
		"squote":    {src: classWith(entry(onNode, kubeVip("vip_leaseduration={{ squote .d }}"))), refused: true, at: ".d", says: "writes quotes of its own"},
		"toJson":    {src: classWith(entry(onNode, kubeVip("vip_interface={{ .nic | toJson }}"))), refused: true, at: ".nic", says: "writes quotes of its own"},
		"no quotes": {src: classWith(entry(onNode, kubeVip(`vip_interface="{{ .quoted }}"`))), out: `value: "{{ .quoted }}"`},

		// Placeholders.
		"in a flow list":      {src: "keys: [${VM_SSH_KEYS}]\n---\n" + kcp, out: "keys: [${VM_SSH_KEYS}]\n"},
		"in a flow map":       {src: "labels: {a: ${A}, b: ${B:=x}}\n---\n" + kcp, out: "{a: ${A}, b: ${B:=x}}"},
		"with a colon":        {src: "a: ${A:-b: c}\nd: ${E:- #f}\n---\n" + kcp, out: "a: ${A:-b: c}\nd: ${E:- #f}\n"},
		"quotes in quotes":    {src: "a: \"${A:=\"x\"}\"\nb: [${B}]\n---\n" + kcp, out: "a: \"${A:=\"x\"}\"\nb: [${B}]\n"},
		"escaped dollar":      {src: "a: [$${A}]\nb: $${B:={}}\n---\n" + kcp, out: "a: [$${A}]\nb: $${B:={}}\n"},
		"nested":              {src: "a: [${A:=${B}}, {{ ds.meta_data.c }}]\n---\n" + kcp, out: "[${A:=${B}}, {{ ds.meta_data.c }}]"},
		"as the interface":    {src: "a: [${A}]\n---\n" + controlPlane("KubeadmControlPlane", entry(onNode, kubeVip(`vip_interface=${NIC:=""}`))), out: `value: ${NIC:=""}`},
		"alone on a line":     {src: "a:\n${MORE}\n- b\n${LAST:=x}\n---\n" + kcp, out: "a:\n${MORE}\n- b\n${LAST:=x}\n---\n"},
		"alone, a value":      {src: "a:\n  ${A}\n---\n" + strings.Replace(kcp, "value: 192.168.35.100", "value:\n                  ${VIP}", 1), out: "value: ${VIP}\n"},
		"alone in a list":     {src: "a:\n  ${MORE}\n  - b\n---\n" + kcp, out: "a:\n  ${MORE}\n  - b\n---\n"},
		"alone, broken":       {src: "a: b\n${MORE}\n---\n" + strings.Replace(kcp, "value: 192.168.35.100", "value:\n                  ${VIP}", 1), out: "value: ${VIP}\n"},
		"alone, and an error": {src: "a: b\n${MORE}\n---\n" + strings.Replace(kcp, "spec:\n", "  labels: {a: [b, c}\nspec:\n", 1), refused: true, at: "[b, c}", says: "this is not YAML"},
		"alone in content":    {src: "a: b\n${MORE}\n---\n" + controlPlane("KubeadmControlPlane", entry("/etc/a", "${A}\n  ${B}\n"), entry(onNode, kubeVip())), out: "        ${A}\n          ${B}\n"},
		"alone, a command":    {src: "a: b\n${MORE}\n---\n" + kcp + "    preKubeadmCommands:\n    - |\n      cp " + onNode + " /root/\n      ${A}\n", out: "cp /etc/kubernetes/manifests/vipd.yaml /root/\n      ${A}\n"},
		"not a heredoc":       {src: "a: <<A>>\nb: @B@\n---\n" + kcp, refused: true, at: "@B@", says: "this is not YAML"},
		"in the manifest":     {src: strings.Replace(kcp, "  hostNetwork: true", "  nodeSelector: {a: ${A}}\n          hostNetwork: true", 1), says: "spec.nodeSelector is not carried over", out: "manifests/vipd.yaml"},

		// The true reason.
		"broken YAML beside Jinja of cloud-init": {src: strings.Replace(kcp, "name: edge", "name: '{{ ds.meta_data.x }}'\n  labels: [a", 1), refused: true, says: "this is not YAML"},
		"an open bracket":                        {src: strings.Replace(kcp, "spec:\n", "  labels: {a: [b, c}\nspec:\n", 1), refused: true, at: "[b, c}", says: "this is not YAML"},
		"a tab":                                  {src: strings.Replace(kcp, "    files:", "\tx: y\n    files:", 1), refused: true, at: "\tx: y", says: "this is not YAML"},
		"an indentation":                         {src: strings.Replace(kcp, "  kubeadmConfigSpec:", "  replicas: 3\n   kubeadmConfigSpec:", 1), refused: true, at: "   kubeadmConfigSpec:", says: "this is not YAML"},
		"broken inside":                          {src: strings.Replace(kcp, "      hostNetwork", "      x: [y\n          hostNetwork", 1), refused: true, at: "x: [y", says: "this is not YAML"},
		"a Go template's condition":              {src: strings.Replace(kcp, "    files:", "    files:\n    {{- if .vip }}", 1), refused: true, at: "if ", says: "Go template"},
		"an expression that stands for YAML":     {src: classWith(entry(onNode, strings.Replace(kubeVip(), "  hostNetwork", "{{ .tolerations | indent 2 }}\n  hostNetwork", 1))), refused: true, at: "indent 2", says: "this is a Go template, not YAML"},
		"an expression of Jinja":                 {src: strings.Replace(kcp, "spec:\n", "  a: b\n  {{ labels }}\nspec:\n", 1), refused: true, at: "labels", says: "this is a Jinja template, not YAML"},
		"a folder from a template":               {src: classWith(entry("{{ .dir }}/kube-vip.yaml", kubeVip())), says: "the path of this manifest is {{ .dir }}/kube-vip.yaml and was not changed, although the manifest is vipd's now\n", out: "name: vipd"},
		"Terraform":                              {src: strings.Replace(kcp, "    files:", "    files:\n%{ if vip }", 1), refused: true, at: "if ", says: "Terraform"},
		"Jinja in a comment":                     {src: strings.Replace(kubeVip(), "  hostNetwork", "  # {{ a }}\n  hostNetwork", 1), out: "name: vipd"},

		// Copies.
		"a copy in JSON": {src: strings.Replace(kcp, "  name: edge", "  name: edge\n  annotations:\n    kubectl.kubernetes.io/last-applied-configuration: |\n      "+strings.TrimSpace(quotedKCP(kcp))+"\n", 1),
			says: "last-applied-configuration has a copy", out: "manifests/vipd.yaml"},
		"a copy in YAML": {src: strings.Replace(kcp, "  name: edge", "  name: edge\n  annotations:\n"+under("    example.com/original: |", kcp, 6), 1),
			says: "example.com/original has a copy", out: "manifests/vipd.yaml"},
		"a copy in a list": {src: "kind: List\nitems:\n- " + indented(strings.Replace(kcp, "  name: edge", "  name: edge\n  annotations:\n    kubectl.kubernetes.io/last-applied-configuration: |\n      "+strings.TrimSpace(quotedKCP(kcp)), 1), 2),
			says: "has a copy", out: "manifests/vipd.yaml"},
		"a copy in a template's metadata": {src: strings.Replace(kcp, "  kubeadmConfigSpec:", "  machineTemplate:\n    metadata:\n      annotations:\n        example.com/last: "+quoted(quotedKCP(kcp))+"\n  kubeadmConfigSpec:", 1), says: "has a copy", out: "manifests/vipd.yaml"},
		"the status":                      {src: kcp + "status:\n" + under("  observed: |", kubeVip(), 4), out: "manifests/vipd.yaml"},
		"earlier versions":                {src: kcp + "---\napiVersion: apps/v1\nkind: ControllerRevision\n" + under("data:", daemonSet(kubeVip()), 2), out: "manifests/vipd.yaml"},

		// Nodes on which vipd's pod would not start.
		"RKE2 by the kind":            {src: controlPlane("RKE2ControlPlane", entry("/opt/vip.yaml", kubeVip())), out: "path: /var/lib/rancher/rke2/server/tls"},
		"RKE2 by the folder":          {src: controlPlane("Config", entry(rke2+"/agent/pod-manifests/kube-vip.yaml", kubeVip())), out: "value: /var/lib/rancher/rke2/agent/pod-manifests\n"},
		"RKE2 by its kubeconfig":      {src: strings.Replace(kubeVip(), "path: /etc/kubernetes/admin.conf", "path: /etc/rancher/rke2/rke2.yaml", 1), says: "does not need /etc/rancher/rke2/rke2.yaml", out: "path: /var/lib/rancher/rke2/agent/pod-manifests\n"},
		"k3s by its kubeconfig":       {src: strings.Replace(kubeVip("k8s_config_file=/etc/rancher/k3s/k3s.yaml"), "path: /etc/kubernetes/admin.conf", "path: /etc/rancher/k3s", 1), says: "while both are in /var/lib/rancher/k3s/agent/pod-manifests", out: "path: /var/lib/rancher/k3s/server/tls\n"},
		"k3s in cloud-init":           {src: "#cloud-config\nwrite_files:\n- " + indented(entry("/var/lib/rancher/k3s/agent/pod-manifests/kube-vip.yaml", kubeVip()), 2), out: "path: /var/lib/rancher/k3s/server/tls\n"},
		"another data folder":         {src: controlPlane("Config", entry("/data/agent/pod-manifests/kube-vip.yaml", kubeVip())), refused: true, says: "does not tell whether kubeadm, RKE2 or k3s"},
		"another data folder, kind":   {src: controlPlane("RKE2ControlPlane", entry("/data/agent/pod-manifests/kube-vip.yaml", kubeVip())), says: "/data/agent/pod-manifests/kube-vip.yaml is now /data/agent/pod-manifests/vipd.yaml", out: "path: /data/server/tls\n"},
		"another data folder, said":   {src: controlPlane("Config", entry("/data/agent/pod-manifests/kube-vip.yaml", kubeVip())), distribution: "k3s", out: "path: /data/server/tls\n"},
		"the wrong distribution":      {src: strings.Replace(kubeVip(), "path: /etc/kubernetes/admin.conf", "path: /etc/rancher/rke2/rke2.yaml", 1), distribution: "k3s", refused: true, says: "nodes of rke2, but --distribution is k3s"},
		"a distribution is said":      {src: strings.Replace(kubeVip(), "path: /etc/kubernetes/admin.conf", "path: /opt/vip.conf", 1), distribution: "k3s", out: "path: /var/lib/rancher/k3s/server/tls\n"},
		"RKE2, the port of joins":     {src: controlPlane("RKE2ControlPlane", entry("/opt/vip.yaml", kubeVip(`port="9345"`))), refused: true, at: "name: port", says: "port=9345: 9345 is the port of rke2 at which nodes join"},
		"RKE2, a Pod that is applied": {src: controlPlane("RKE2ControlPlane", entry(rke2+"/server/manifests/kube-vip.yaml", kubeVip())), refused: true, says: "this Pod runs on one node"},
		"RKE2, kubeadm's folder":      {src: controlPlane("RKE2ControlPlane", entry(onNode, kubeVip())), refused: true, says: "not in /var/lib/rancher/rke2/agent/pod-manifests"},
		"RKE2, RBAC beside": {src: controlPlane("RKE2ControlPlane", entry(rke2+"/agent/pod-manifests/kube-vip.yaml", kubeVip()), entry(rke2+"/server/manifests/kube-vip-rbac.yaml", "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: kube-vip\n")),
			says: "still names kube-vip", out: "manifests/kube-vip-rbac.yaml"},

		// DaemonSets.
		"a DaemonSet that RKE2 applies": {src: controlPlane("RKE2ControlPlane", entry(rke2+"/server/manifests/kube-vip.yaml", inCluster)), says: "rke2 removes kube-vip's DaemonSet kube-vip when it applies this file", out: "path: /var/lib/rancher/rke2/server/manifests/kube-vip.yaml"},
		"a DaemonSet of kubeadm":        {src: "# before\n---\n" + daemonSet(kubeVip("vip_leasename=a/b")) + "---\nkind: After\n", says: "delete kube-vip's DaemonSet kube-vip before", out: "namespace: a\n"},
		"a DaemonSet, perhaps of k3s":   {src: inCluster, refused: true, says: "does not tell whether kubeadm, RKE2 or k3s"},
		"a DaemonSet of k3s":            {src: inCluster, distribution: "k3s", out: "kind: DaemonSet\nmetadata:\n  name: vipd\n"},
		"a DaemonSet in a list":         {src: "kind: List\nitems:\n- " + indented(inCluster, 2), distribution: "k3s", refused: true, says: "comes with other objects"},
		"a Deployment":                  {src: strings.Replace(inCluster, "kind: DaemonSet", "kind: Deployment", 1), refused: true, says: "runs as a Deployment"},
		"k0s":                           {src: strings.Replace(kubeVip(), "path: /etc/kubernetes/admin.conf", "path: /var/lib/k0s/pki/admin.conf", 1), refused: true, says: "nodes of k0s"},
		"Talos":                         {src: "machine:\n  pods:\n  - " + indented(kubeVip(), 4), refused: true, says: "nodes of Talos"},
		"another folder":                {src: controlPlane("KubeadmControlPlane", entry("/etc/kubelet.d/kube-vip.yaml", kubeVip())), refused: true, says: "static pods are in /etc/kubelet.d"},
		"a folder to copy from":         {src: controlPlane("KubeadmControlPlane", entry("/tmp/manifests/kube-vip.yaml", kubeVip())) + "    preKubeadmCommands:\n    - mv /tmp/manifests/*.yaml /etc/kubernetes/manifests/\n", out: "/tmp/manifests/vipd.yaml"},
		"an alias":                      {src: "kind: Y\n" + under("vip: &vip |", kubeVip(), 2) + "files:\n- path: " + onNode + "\n  content: *vip\n", out: "path: /etc/kubernetes/manifests/vipd.yaml\n  content: *vip"},
		"a variable of the pod":         {src: kubeVip(`vip_interface=$(NIC)`, "NIC=eth0"), refused: true, at: "name: vip_interface", says: "refers to another variable of the pod"},
		"a folder below a chroot":       {src: controlPlane("KubeadmControlPlane", entry("/host"+onNode, kubeVip())), out: "/host/etc/kubernetes/manifests/vipd.yaml"},
		"a file copied afterwards":      {src: controlPlane("KubeadmControlPlane", entry("/root/kube-vip.yaml", kubeVip())), out: "/root/vipd.yaml"},
		"a path from a template":        {src: "a: [${A}]\n---\n" + controlPlane("KubeadmControlPlane", entry("/etc/kubernetes/manifests/${NAME}", kubeVip())), says: "was not changed, although", out: "manifests/${NAME}"},
	} {
		t.Run(name, c.run)
	}
}

// shape is a file, and what is to become of it.
type shape struct {
	src string
	// says is in a note, or in the reason for which the file is refused.
	says    string
	refused bool
	// distribution is the option.
	distribution string
	at           string // is in the line of the refusal
	out          string // is in the result
	kept         bool   // the result is the file
}

func (c shape) run(t *testing.T) {
	o := options
	o.Distribution = c.distribution
	r, err := Migrate(c.src, o)
	var refusal *Refusal
	if c.refused {
		if !errors.As(err, &refusal) || !strings.Contains(refusal.Reason, c.says) || refusal.Way == "" || !strings.Contains(strings.Split(c.src, "\n")[max(refusal.Line, 1)-1], c.at) {
			t.Fatalf("line %d: %v\nwant a refusal where %q is: %s\n%s", lineOfRefusal(refusal), err, c.at, c.says, r.Out)
		}
		return
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, c.src)
	}
	if !strings.Contains(printed(r), c.says) || !strings.Contains(r.Out, c.out) || c.kept == r.Changed() {
		t.Errorf("want %q and %q:\n%s\n%s", c.says, c.out, printed(r), r.Out)
	}
	holds(t, c.src, r)
}

func lineOfRefusal(r *Refusal) int {
	if r == nil {
		return 0
	}
	return r.Line
}

// quotedKCP returns a text in quotes, as kubectl writes a file of an object into its annotation.
func quotedKCP(s string) string {
	return `{"kind":"KubeadmControlPlane","spec":{"kubeadmConfigSpec":{"files":[{"path":"` + onNode + `","content":` + quoted(s) + `}]}}}` + "\n"
}

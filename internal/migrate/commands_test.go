package migrate

import (
	"errors"
	"strings"
	"testing"
)

// with returns a KubeadmControlPlane with a manifest and commands before kubeadm.
func with(pod string, commands ...string) string {
	s := controlPlane("KubeadmControlPlane", entry(onNode, pod)) + "    preKubeadmCommands:\n"
	for _, c := range commands {
		s += under("    - |", c, 6)
	}
	return s
}

// withAddress returns the pod with another address, as written in YAML.
func withAddress(address string, env ...string) string {
	return strings.Replace(kubeVip(env...), "value: 192.168.35.100", "value: "+address, 1)
}

// TestPlaceholders: what a command replaces on the node reaches vipd's manifest, or the file is
// refused.
func TestPlaceholders(t *testing.T) {
	const fill = "sed -i 's/__VIP__/192.168.35.100/' "
	pod := withAddress("__VIP__")
	for name, c := range map[string]shape{
		"by its path":            {src: with(pod, fill+onNode), out: fill + "/etc/kubernetes/manifests/vipd.yaml\n"},
		"by a pattern":           {src: with(pod, fill+"/etc/kubernetes/manifests/*.yaml"), out: "path: /etc/kubernetes/manifests/vipd.yaml"},
		"by a pattern of its":    {src: with(pod, fill+"/etc/kubernetes/manifests/kube-*.yaml"), says: "was not changed, although the manifest is vipd's now: line 38 refers to it as /etc/kubernetes/manifests/kube-*.yaml", out: "path: " + onNode},
		"by a pattern of others": {src: with(pod, fill+"/etc/kubernetes/addons/*.yaml"), refused: true, at: "name: address", says: "address=__VIP__ is a placeholder, and no command here replaces it"},
		"by a variable":          {src: with(pod, "D=/etc/kubernetes/manifests\n"+fill+"$D/kube-vip.yaml"), says: "refers to it as $D/kube-vip.yaml", out: "path: " + onNode},
		"by a variable in all":   {src: with(pod, "F="+onNode+"\n"+fill+`"$F"`), out: "F=/etc/kubernetes/manifests/vipd.yaml\n"},
		"by an unknown variable": {src: with(pod, fill+`"${DIR}/kube-vip.yaml"`), out: "path: " + onNode},
		"in its folder":          {src: with(pod, "cd /etc/kubernetes/manifests && "+fill+"kube-vip.yaml"), says: "refers to it as kube-vip.yaml", out: "path: " + onNode},
		"in a loop":              {src: with(pod, "for f in /etc/kubernetes/manifests/*; do\n  "+fill+"\"$f\"\ndone"), out: "path: /etc/kubernetes/manifests/vipd.yaml"},
		"by find":                {src: with(pod, "find /etc/kubernetes/manifests -name '*.yaml' -exec "+fill+"{} +"), out: "path: /etc/kubernetes/manifests/vipd.yaml"},
		"in a loop of names":     {src: with(pod, "for n in kube-vip audit; do "+fill+"/etc/kubernetes/manifests/$n.yaml; done"), says: "refers to it as /etc/kubernetes/manifests/$n.yaml", out: "path: " + onNode},
		"by find, its name":      {src: with(pod, "find /etc/kubernetes/manifests -name 'kube-vip*' -exec "+fill+"{} +"), says: "refers to it as kube-vip*", out: "path: " + onNode},
		"by a script":            {src: controlPlane("KubeadmControlPlane", entry(onNode, pod), entry("/opt/fill.sh", "#!/bin/sh\n"+fill+onNode+"\n")), out: "/etc/kubernetes/manifests/vipd.yaml\n"},
		"by envsubst":            {src: controlPlane("KubeadmControlPlane", entry("/root/kube-vip.tpl.yaml", withAddress("$VIP"))) + "    preKubeadmCommands:\n    - VIP=192.168.35.100 envsubst < /root/kube-vip.tpl.yaml > /etc/kubernetes/manifests/a.yaml\n", out: "envsubst < /root/vipd.yaml > /etc"},
		"another one":            {src: with(withAddress("__VIP__", "vip_interface=__IFACE__"), "sed -i 's/__VIP__/1/; s/__IFACE__/eth0/' "+onNode), out: `value: "__IFACE__"`},
		"by a string in quotes":  {src: with(pod, `sed -i "s#value: __VIP__#value: $(hostname -i)#" `+onNode), out: "value: __VIP__\n"},
		"of a number":            {src: with(kubeVip(`port="__PORT__"`, "vip_leaseduration=__L__", `vip_renewdeadline="10"`, `vip_retryperiod="2"`), "sed -i 's/__PORT__/6443/; s/__L__/15/' "+onNode), out: `value: "__L__s"`},
		"clusterctl's":           {src: controlPlane("KubeadmControlPlane", entry(onNode, withAddress("${VIP}"))), out: "value: ${VIP}\n"},
		"in a pod of its own":    {src: pod, says: "assumed to be a placeholder", out: "value: __VIP__\n"},

		"a word that vipd has":    {src: with(withAddress("VIP"), "sed -i s/VIP/192.168.35.100/ "+onNode), refused: true, at: "sed -i", says: `also in "name: VIPD_KUBECONFIG" of vipd's manifest`},
		"a word on its line":      {src: with(withAddress("VIP"), "sed -i 's/value: VIP/value: 192.168.35.100/' "+onNode), out: "value: VIP\n"},
		"a word below its name":   {src: with(withAddress("VIP"), "sed -i '/name: address/{n;s/VIP/192.168.35.100/}' "+onNode), out: "value: VIP\n"},
		"a setting that vipd has": {src: with(kubeVip("vip_interface=INTERFACE"), "sed -i s/INTERFACE/eth0/ "+onNode), refused: true, at: "sed -i", says: `also in "name: VIPD_INTERFACE"`},
		"a word in a pod":         {src: withAddress("VIP"), refused: true, at: "name: address", says: "address=VIP is a placeholder, and it is also in"},
		"a duration without {}":   {src: kubeVip(`vip_leaseduration="$L"`), refused: true, at: "name: vip_leaseduration", says: "ends with the unit, $Ls, which would be another variable"},

		"by nothing":               {src: controlPlane("KubeadmControlPlane", entry(onNode, pod)), refused: true, at: "name: address", says: "no command here replaces it in " + onNode},
		"an interface":             {src: controlPlane("KubeadmControlPlane", entry(onNode, kubeVip("vip_interface=__IFACE__"))), refused: true, at: "name: vip_interface", says: "vip_interface=__IFACE__ is a placeholder"},
		"a variable":               {src: controlPlane("KubeadmControlPlane", entry(onNode, withAddress("$VIP"))), refused: true, at: "name: address", says: "address=$VIP is a placeholder"},
		"capitals":                 {src: controlPlane("KubeadmControlPlane", entry(onNode, withAddress("CONTROL_PLANE_VIP"))), refused: true, at: "name: address", says: "is a placeholder"},
		"in brackets":              {src: controlPlane("KubeadmControlPlane", entry(onNode, withAddress("<your-vip>"))), refused: true, at: "name: address", says: "is a placeholder"},
		"a word":                   {src: controlPlane("KubeadmControlPlane", entry(onNode, withAddress("VIP"))), refused: true, at: "name: address", says: "is a placeholder"},
		"an interface of capitals": {src: controlPlane("KubeadmControlPlane", entry(onNode, kubeVip("vip_interface=LAN"))), out: "value: LAN\n"},
		"a boolean":                {src: with(kubeVip("bgp_enable=__BGP__"), "sed -i s/__BGP__/false/ "+onNode), refused: true, at: "bgp_enable", says: "cannot tell from __BGP__"},
		"only in another file":     {src: with(pod, fill+"/etc/kubernetes/audit.yaml"), refused: true, at: "name: address", says: "no command here replaces it"},
		"only in a comment":        {src: with(pod, "# "+fill+onNode+"\ntrue"), refused: true, at: "name: address", says: "no command here replaces it"},
	} {
		t.Run(name, c.run)
	}
}

// TestHeredocs: a command that writes a kube-vip for Services stays; one that writes another is refused.
func TestHeredocs(t *testing.T) {
	heredoc := func(manifest string) string {
		return with(kubeVip(), "cat <<EOF | kubectl apply -f -\n"+strings.TrimSuffix(manifest, "\n")+"\nEOF")
	}
	services := daemonSet(servicesPod())
	off := daemonSet(servicesPod(`cp_enable="false"`))
	for name, c := range map[string]shape{
		"Services":           {src: heredoc(services), says: "still names kube-vip", out: "manifests/vipd.yaml"},
		"cp_enable is false": {src: heredoc(off), out: "manifests/vipd.yaml"},
		"alone":              {src: "kind: KubeadmControlPlane\nspec:\n  kubeadmConfigSpec:\n    preKubeadmCommands:\n" + under("    - |", "kubectl apply -f - <<EOF\n"+services+"EOF\n", 6), kept: true, says: "a script writes a kube-vip that announces Services only"},
		"and another one":    {src: heredoc(off + "---\n" + daemonSet(kubeVip())), refused: true, at: "cat <<EOF", says: scripted},
		"an argument":        {src: heredoc(argument(services, "        - --controlplane\n")), refused: true, at: "cat <<EOF", says: scripted},
		"a variable":         {src: heredoc(daemonSet(servicesPod(`cp_enable="$CP"`))), refused: true, at: "cat <<EOF", says: scripted},
		"JSON":               {src: with(kubeVip(), `printf '{"kind": "Pod", "spec": {"containers": [{"image": "kube-vip/kube-vip:v1", "env": [{"name": "cp_enable", "value": "true"}]}]}}' > /run/vip.json`), refused: true, at: "printf", says: scripted},
	} {
		t.Run(name, c.run)
	}
}

// TestCommands: a command that changes kube-vip's manifest changes vipd's in the same way, or it is
// dropped because vipd does not need that, or the file is refused.
func TestCommands(t *testing.T) {
	const f = " " + onNode
	const admin = "path: /etc/kubernetes/super-admin.conf"
	nic := kubeVip("vip_interface=eth0")
	refused := func(command, at, says string) shape {
		return shape{src: with(nic, command), refused: true, at: at, says: says}
	}
	dropped := func(command string) shape {
		return shape{src: with(nic, command, "echo done"), says: "command dropped", out: "preKubeadmCommands:\n    - |\n      echo done"}
	}
	stays := func(command, out string) shape { return shape{src: with(nic, command), out: out} }
	for name, c := range map[string]shape{
		// super-admin.conf, in the forms that people have.
		"sed":               {src: with(nic, "sed -i 's#path: /etc/kubernetes/admin.conf#"+admin+"#'"+f, "echo done"), says: "command dropped", out: "echo done"},
		"sed by a variable": dropped("M=" + onNode + "\nsed -i 's#admin.conf#super-admin.conf#' \"$M\""),
		"sed at an address": stays(`sed -i '/path:.*admin.conf/s/admin/super-admin/'`+f, "/etc/kubernetes/manifests/vipd.yaml"),
		"sed, extended":     stays(`sed -E -i 's#(path: /etc/kubernetes/)admin#\1super-admin#'`+f, "/etc/kubernetes/manifests/vipd.yaml"),
		"yq":                dropped(`yq -i '(.spec.volumes[] | select(.name == "kubeconfig") | .hostPath.path) = "/etc/kubernetes/super-admin.conf"'` + f),
		"yq eval":           dropped(`yq eval -i '(.spec.volumes[] | select(.hostPath.path == "/etc/kubernetes/admin.conf")).hostPath.path = "/etc/kubernetes/super-admin.conf"'` + f),
		"yq by index":       dropped(`yq -i '.spec.volumes[0].hostPath.path = "/etc/kubernetes/super-admin.conf"'` + f),
		"yq, and more":      stays(`yq -i '(.spec.volumes[] | select(.name == "kubeconfig") | .hostPath.path) = "/etc/kubernetes/super-admin.conf"'`+f+"\nmodprobe br_netfilter", "modprobe br_netfilter"),
		"yq by index, more": refused(`yq -i '.spec.volumes[0].hostPath.path = "/etc/kubernetes/super-admin.conf"'`+f+"\nmodprobe br_netfilter", "yq -i", "by its structure (yq)"),
		"perl":              dropped(`perl -pi -e 's#admin\.conf#super-admin.conf#'` + f),
		"perl, and more":    stays(`perl -pi -e 's#admin\.conf#super-admin.conf#'`+f+"\nmodprobe br_netfilter", "modprobe br_netfilter"),
		"hosts, deleted":    stays(`sed -i '/hostAliases:/,+3d'`+f, "hostAliases"),

		// What vipd's manifest has as well.
		"an interface":         stays(`sed -i "s/eth0/$(ip -o route get 1 | cut -d ' ' -f 5)/"`+f, "/etc/kubernetes/manifests/vipd.yaml"),
		"an interface by yq":   refused(`yq -i '(.spec.containers[0].env[] | select(.name=="vip_interface")).value = "eth1"'`+f, "yq -i", "by its structure (yq)"),
		"the address":          stays(`sed -i '/name: address/{n;s/value:.*/value: 10.0.0.9/}'`+f, "/etc/kubernetes/manifests/vipd.yaml"),
		"a copy":               stays("cp"+f+" /root/copy.yaml", "cp /etc/kubernetes/manifests/vipd.yaml /root/copy.yaml"),
		"a condition":          stays("grep -q address"+f+" && echo yes", "/etc/kubernetes/manifests/vipd.yaml"),
		"kubectl asks":         stays("kubectl --kubeconfig /etc/kubernetes/admin.conf get nodes; ls"+f, "/etc/kubernetes/manifests/vipd.yaml"),
		"another file":         stays("sed -i '/vip_interface/d' /srv/other.yaml; ls"+f, "/srv/other.yaml"),
		"a variable's pattern": stays(`sed -i "s/$OLD/$NEW/"`+f, "/etc/kubernetes/manifests/vipd.yaml"),

		// What it has not.
		"a name of a variable":          refused(`sed -i '/vip_interface/{n;s/value:.*/value: eth1/}'`+f, "sed -i", `changes "vip_interface" in kube-vip's manifest, which is not in vipd's`),
		"a range":                       refused("sed -i '/vip_interface/,/value/ s/eth0/eth1/'"+f, "sed -i", "vip_interface"),
		"a second expression":           refused("sed -i -e s/eth0/eth1/ -e s/vip_arp/x/"+f, "sed -i", "vip_arp"),
		"an image":                      refused("sed -i 's#ghcr.io/kube-vip/kube-vip#mirror.local/kube-vip#'"+f, "sed -i", "ghcr.io/kube-vip/kube-vip"),
		"in a script":                   {src: controlPlane("KubeadmControlPlane", entry(onNode, nic), entry("/opt/a.sh", "#!/bin/sh\nset -e\nsed -i 's/vip_arp/x/' \\\n  "+onNode+"\n")), refused: true, at: "sed -i", says: "vip_arp"},
		"in a loop":                     refused("for f in /etc/kubernetes/manifests/*.yaml; do\n  sed -i '/cp_enable/,+1d' \"$f\"\ndone", "sed -i", "cp_enable"),
		"a read into a file":            stays(`awk '/name: address/{getline; print $2}'`+f+` > /run/vip`, "/etc/kubernetes/manifests/vipd.yaml"),
		"another read":                  stays("ls"+f+"\nkubectl get nodes -o json | jq -r \".items[$N]\" > /run/node", "/run/node"),
		"comments, deleted":             stays(`sed -i '/^ *#/d'`+f, "/etc/kubernetes/manifests/vipd.yaml"),
		"an image of both":              refused("sed -i 's#image: .*#image: mirror.local/kube-vip:v1#'"+f, "sed -i", "would write kube-vip into vipd's manifest"),
		"a whole line":                  stays(`sed -i '/name: address/{n;s/.*/      value: 10.0.0.9/}'`+f, "/etc/kubernetes/manifests/vipd.yaml"),
		"a line of another indentation": {src: with(strings.NewReplacer("\n    - name: ", "\n      - name: ", "\n      value: ", "\n        value: ").Replace(nic), `sed -i '/name: address/{n;s/.*/        value: 10.0.0.9/}'`+f), refused: true, at: "sed -i", says: "whose indentation is another one in vipd's manifest"},
		"another file by a heredoc":     stays("cat > /etc/kube-vip.conf <<EOF\nx=y\nEOF\nls"+f, "cat > /etc/kube-vip.conf <<EOF"),
		"a read":                        refused(`NIC=$(grep -A1 vip_interface`+f+` | tail -1)`, "grep", "looks for vip_interface in kube-vip's manifest"),
		"a read of the address":         stays(`VIP=$(grep -A1 "name: address"`+f+` | tail -1)`, "/etc/kubernetes/manifests/vipd.yaml"),
		"lines, deleted":                refused("sed -i '/tolerations:/,+5d; /securityContext/d'"+f, "sed -i", "deletes or inserts lines of kube-vip's manifest at \"securityContext\""),
		"lines by number":               refused("sed -i '12,14d'"+f, "sed -i", "by their numbers"),
		"lines, inserted":               refused(`sed -i '/hostNetwork/a\  dnsPolicy: Default'`+f, "sed -i", "deletes or inserts lines"),
		"awk":                           refused(`awk '/vip_interface/{print; getline; sub("eth0","eth1")} {print}'`+f+" > /tmp/a && mv /tmp/a"+f, "awk", "by its structure (awk)"),
		"python":                        refused("python3 -c 'import yaml'"+f, "python3", "a program changes kube-vip's manifest by its structure"),
		"kustomize":                     refused("kubectl kustomize /srv > "+onNode, "", "a command writes kube-vip's manifest"),
		"kubectl patch":                 refused("kubectl patch --local -o yaml -f"+f+" --type json -p '[]' > /srv/a.yaml && mv /srv/a.yaml"+f, "kubectl", "by its structure (kubectl)"),

		// Waiting for kube-vip.
		"waits":             refused("until crictl ps | grep -q kube-vip; do sleep 1; done", "until", "waits for kube-vip, or ends without it"),
		"waits by kubectl":  refused("kubectl -n kube-system wait --for=condition=Ready pod/kube-vip-$(hostname)", "kubectl", "waits for kube-vip"),
		"needs it":          refused("crictl ps | grep -q kube-vip || exit 1", "crictl", "or ends without it"),
		"needs the file":    stays("[ -f"+f+" ] || exit 1", "[ -f /etc/kubernetes/manifests/vipd.yaml ] || exit 1"),
		"waits for a file":  stays("until [ -f"+f+" ]; do sleep 1; done", "/etc/kubernetes/manifests/vipd.yaml ]"),
		"waits for another": stays("until crictl ps | grep -q etcd; do sleep 1; done; ls"+f, "grep -q etcd"),
	} {
		t.Run(name, c.run)
	}
}

// TestFiles: a command in one file, and the manifest that it changes in another.
func TestFiles(t *testing.T) {
	template := controlPlane("KubeadmControlPlaneTemplate", entry(onNode, withAddress("__VIP__")))
	class := func(command string) string {
		return "kind: ClusterClass\nspec:\n  patches:\n  - definitions:\n    - jsonPatches:\n      - op: add\n        path: /spec/template/spec/kubeadmConfigSpec/preKubeadmCommands/-\n        value: " + command + "\n"
	}
	for name, c := range map[string]struct{ command, class, template, says string }{
		"by its path":      {command: "sed -i s/__VIP__/1/ " + onNode, class: "/etc/kubernetes/manifests/vipd.yaml", template: "path: /etc/kubernetes/manifests/vipd.yaml"},
		"by a pattern":     {command: "sed -i s/__VIP__/1/ /etc/kubernetes/manifests/*", class: "", template: "path: /etc/kubernetes/manifests/vipd.yaml"},
		"by a variable":    {command: "D=/etc/kubernetes/manifests; sed -i s/__VIP__/1/ $D/kube-vip.yaml; ls " + onNode, class: "ls " + onNode, template: "path: " + onNode},
		"not at all":       {command: "ls /srv # kube-vip", says: "is a placeholder, and no command here replaces it"},
		"something else":   {command: "sed -i s/vip_arp/1/ " + onNode, says: "vip_arp"},
		"by its structure": {command: "yq -i .a=1 " + onNode, says: "by its structure (yq)"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, order := range [][2]int{{0, 1}, {1, 0}} {
				srcs := []string{class(c.command), template}
				results, errs := Files([]string{srcs[order[0]], srcs[order[1]]}, options)
				ofClass, ofTemplate := results[order[0]], results[order[1]]
				said := ""
				for _, err := range errs {
					if err != nil && !errors.Is(err, ErrNoKubeVip) {
						said += err.Error()
					}
				}
				if c.says == "" && said != "" || !strings.Contains(said, c.says) {
					t.Fatalf("%v, want %q", errs, c.says)
				}
				if !strings.Contains(ofClass.Out, c.class) || !strings.Contains(ofTemplate.Out, c.template) {
					t.Errorf("want %q and %q:\n%s\n%s", c.class, c.template, ofClass.Out, ofTemplate.Out)
				}
			}
		})
	}
}

// TestOwners: the commands of one control plane have no effect on the nodes of another one.
func TestOwners(t *testing.T) {
	pod := withAddress("__VIP__")
	const fill = "sed -i 's/__VIP__/192.168.35.100/' "
	for name, c := range map[string]shape{
		"both fill":    {src: with(pod, fill+onNode) + "---\n" + with(pod, fill+onNode), out: fill + "/etc/kubernetes/manifests/vipd.yaml\n"},
		"one fills":    {src: with(pod, fill+onNode) + "---\n" + controlPlane("KubeadmControlPlane", entry(onNode, pod)), refused: true, at: "name: address", says: "is a placeholder"},
		"one keeps":    {src: with(pod, fill+"/etc/kubernetes/manifests/kube-*.yaml") + "---\n" + with(pod, fill+onNode), out: "path: " + onNode},
		"one renames":  {src: with(pod, fill+"/etc/kubernetes/manifests/kube-*.yaml; ls "+onNode) + "---\n" + with(pod, fill+onNode), out: "; ls " + onNode + "\n---\n"},
		"one is other": {src: with(kubeVip("vip_interface=eth0"), "ls "+onNode) + "---\n" + with(kubeVip(), "sed -i /vip_interface/d "+onNode), out: "sed -i /vip_interface/d /etc/kubernetes/manifests/vipd.yaml\n"},
	} {
		t.Run(name, c.run)
	}
}

// TestPaths: a path with which vipd's pod would not start, or not be where kubelet looks, is refused.
func TestPaths(t *testing.T) {
	for name, c := range map[string]shape{
		"relative":         {src: controlPlane("KubeadmControlPlane", entry("etc/kubernetes/manifests/kube-vip.yaml", kubeVip())), refused: true, says: "is relative (etc/"},
		"a dot":            {src: controlPlane("KubeadmControlPlane", entry("./kube-vip.yaml", kubeVip())), refused: true, says: "is relative (./"},
		"a colon":          {src: controlPlane("KubeadmControlPlane", entry("/srv/a:b/kube-vip.yaml", kubeVip())), refused: true, says: "has a colon (/srv/a:b/"},
		"a data folder":    {src: controlPlane("RKE2ControlPlane", entry("/data:1/agent/pod-manifests/kube-vip.yaml", kubeVip())), refused: true, says: "has a colon (/data:1/"},
		"twice":            {src: controlPlane("KubeadmControlPlane", entry(onNode, kubeVip()), entry("/etc/kubernetes//manifests/kube-vip.yaml", "x: y\n")), refused: true, at: onNode, says: "two entries have the path"},
		"twice in patches": {src: classWith(entry(onNode, kubeVip()), entry(onNode, kubeVip())), out: "path: /etc/kubernetes/manifests/vipd.yaml"},
		"credentials":      {src: strings.Replace(kubeVip(), "path: /etc/kubernetes/admin.conf", "path: /srv/a:b/admin.conf", 1), refused: true, says: "/srv/a:b/pki has a colon"},
		"a kubeconfig":     {src: strings.Replace(kubeVip(), "path: /etc/kubernetes/admin.conf", "path: ../vip.conf", 1), refused: true, says: "../vip.conf is not a whole path"},
		"a placeholder":    {src: controlPlane("KubeadmControlPlane", entry(`${DIR:=/etc/kubernetes}/manifests/kube-vip.yaml`, kubeVip())), out: "${DIR:=/etc/kubernetes}/manifests/vipd.yaml"},

		"status at the API server's port": {src: kubeVip(`prometheus_server=":6443"`), refused: true, says: "--status-address: :6443 has the port of the API server"},
		"status at its other port":        {src: kubeVip(`prometheus_server="0.0.0.0:8443"`, `port="8443"`), refused: true, says: "has the port of the API server"},
		"status at the VIP":               {src: kubeVip("prometheus_server=192.168.35.100:2112"), refused: true, says: "--status-address: 192.168.35.100 is the virtual IP itself"},
		"status elsewhere":                {src: kubeVip(`prometheus_server=":2113"`), out: `value: ":2113"`},
	} {
		t.Run(name, c.run)
	}
}

// TestKeepalived: a keepalived beside kube-vip is said, and refused if it holds the same address.
func TestKeepalived(t *testing.T) {
	conf := func(address string) string {
		return entry("/etc/keepalived/keepalived.conf", "vrrp_instance VI_1 {\n  virtual_router_id 51\n  virtual_ipaddress {\n    "+address+"/24 dev eth0\n  }\n}\n")
	}
	files := func(entries ...string) string {
		return controlPlane("KubeadmControlPlane", append([]string{entry(onNode, kubeVip())}, entries...)...)
	}
	const osixia = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: keepalived\nspec:\n  containers:\n  - name: keepalived\n    image: osixia/keepalived:2.0.20\n    env:\n    - name: KEEPALIVED_VIRTUAL_IPS\n      value: "
	for name, c := range map[string]shape{
		"the same address":  {src: files(conf("192.168.35.100")), refused: true, at: "virtual_ipaddress", says: "keepalived holds the same address"},
		"a longer address":  {src: files(conf("192.168.35.1001")), says: "for other addresses", out: "manifests/vipd.yaml"},
		"another address":   {src: files(conf("10.0.0.9")), says: "keepalived is here as well, for other addresses", out: "10.0.0.9/24"},
		"a pod":             {src: files(entry("/etc/kubernetes/manifests/keepalived.yaml", osixia+"\"#PYTHON2BASH:['192.168.35.100']\"\n")), refused: true, at: "KEEPALIVED_VIRTUAL_IPS", says: "keepalived holds the same address"},
		"a package":         {src: files() + "    preKubeadmCommands:\n    - apt-get install -y keepalived\n", says: "keepalived is here as well: if it holds 192.168.35.100, two nodes would answer: remove keepalived's package", out: "keepalived"},
		"cloud-init's":      {src: "#cloud-config\npackages: [keepalived, haproxy]\nwrite_files:\n- " + indented(entry(onNode, kubeVip()), 2), says: "two nodes would answer", out: "name: vipd"},
		"only in a comment": {src: "# Instead of keepalived.\n" + files(), out: "manifests/vipd.yaml"},
	} {
		t.Run(name, c.run)
	}
}

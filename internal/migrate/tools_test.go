package migrate

import (
	"errors"
	"strings"
	"testing"
)

// ansible returns a play with the manifest, and with a task that has the given arguments.
func ansible(pod, module, arguments string) string {
	return "- hosts: masters\n  tasks:\n  - name: manifest\n    ansible.builtin.copy:\n      dest: " + onNode + "\n" + under("      content: |", pod, 8) +
		"  - ansible.builtin." + module + ":\n      path: " + onNode + "\n      " + strings.ReplaceAll(arguments, "\n", "\n      ") + "\n"
}

// TestTools: what Ansible, k0sctl, kustomize, Helm and others do with kube-vip.
func TestTools(t *testing.T) {
	part := strings.Replace(kubeVip(), "    image: ghcr.io/kube-vip/kube-vip:v1.0.3\n", "", 1)
	inline := under("contents: |", daemonSet(kubeVip()), 4)
	for name, c := range map[string]shape{
		"Ansible, super-admin.conf":   {src: ansible(kubeVip(), "replace", "regexp: 'path: /etc/kubernetes/admin.conf'\nreplace: 'path: /etc/kubernetes/super-admin.conf'"), out: "dest: " + onNode},
		"Ansible, the address":        {src: ansible(withAddress("__VIP__"), "replace", "regexp: __VIP__\nreplace: 10.0.0.9"), out: "value: __VIP__"},
		"Ansible, nothing replaces":   {src: ansible(withAddress("__VIP__"), "file", "mode: '0600'"), refused: true, at: "name: address", says: "is a placeholder"},
		"Ansible, a name":             {src: ansible(kubeVip(), "replace", "regexp: vip_arp\nreplace: x"), refused: true, at: "path: ", says: `a task of Ansible changes "vip_arp"`},
		"Ansible, a line":             {src: ansible(kubeVip(), "lineinfile", "regexp: 'path: /etc/kubernetes/admin.conf'\nline: '      path: /etc/kubernetes/super-admin.conf'"), refused: true, at: "path: ", says: "adds a line to a manifest that has none"},
		"Ansible, a line of both":     {src: ansible(kubeVip("vip_interface=eth0"), "lineinfile", "regexp: 'value: eth0'\nline: '      value: eth1'"), out: "dest: " + onNode},
		"Ansible, a line elsewhere":   {src: strings.Replace(ansible(kubeVip(), "lineinfile", "line: x"), "path: "+onNode, "path: /etc/hosts", 1), out: "name: vipd"},
		"Ansible, a shell":            {src: "- hosts: masters\n  tasks:\n  - shell: ctr run --rm {{ image }} vip /kube-vip manifest pod --controlplane | tee " + onNode + "\n", refused: true, at: "shell", says: scripted},
		"k0sctl":                      {src: "spec:\n  hosts:\n  - files:\n    - dst: /var/lib/k0s/manifests/vip/vip.yaml\n" + under("      data: |", daemonSet(kubeVip()), 8), refused: true, says: "nodes of k0s"},
		"Talos, inline":               {src: "cluster:\n  inlineManifests:\n  - name: vip\n    " + indented(inline, 4), refused: true, says: "nodes of Talos"},
		"a part of a manifest":        {src: part, refused: true, says: "no image, so this is only a part of a manifest"},
		"a Helm chart":                {src: "kind: HelmChart\nspec:\n  chart: kube-vip\n", refused: true, at: "kind", says: "comes from a Helm chart"},
		"a Helm chart beside":         {src: kubeVip() + "---\nkind: HelmRelease\nspec:\n  chart: kube-vip\n", says: "still names kube-vip", out: "name: vipd"},
		"a Kustomization and its pod": {src: "kind: Kustomization\nresources: [a.yaml]\npatches:\n- target: {name: kube-vip}\n---\n" + kubeVip(), refused: true, at: "target", says: "kustomize changes kube-vip's manifest"},
		"a Kustomization that lists":  {src: "kind: Kustomization\nresources: [kube-vip.yaml]\n---\n" + kubeVip(), out: "name: vipd"},

		"a Kustomization's patch":      {src: "kind: Kustomization\npatches:\n- target: {kind: KubeadmControlPlane}\n  patch: |-\n    - op: add\n      path: /spec/kubeadmConfigSpec/files/-\n" + under("      value:", entry(onNode, kubeVip()), 8), out: "path: /etc/kubernetes/manifests/vipd.yaml"},
		"a registry of its own":        {src: strings.Replace(kubeVip(), "ghcr.io/kube-vip", "harbor.local:5000/kube-vip", 1), says: "kube-vip's image comes from harbor.local:5000, and vipd's from ghcr.io", out: "name: vipd"},
		"a class that keeps the path":  {src: classWith(entry(onNode, withAddress(`"{{ .vip }}"`))) + "      - op: add\n        path: /spec/template/spec/kubeadmConfigSpec/preKubeadmCommands/-\n        value: cd /etc/kubernetes/manifests && chmod 600 kube-vip.yaml\n", says: "refers to it as kube-vip.yaml", out: "path: " + onNode},
		"a command beside a pod":       {src: kubeVip() + "---\nkind: ConfigMap\ndata:\n  a.sh: |\n    #!/bin/sh\n    sed -i '/vip_arp/d' /srv/a.yaml\n", out: "sed -i '/vip_arp/d' /srv/a.yaml"},
		"a command about a pod":        {src: kubeVip() + "---\nkind: ConfigMap\ndata:\n  a.sh: |\n    #!/bin/sh\n    sed -i '/vip_arp/d' " + onNode + "\n", refused: true, at: "sed -i", says: "vip_arp"},
		"a command beside a DaemonSet": {src: daemonSet(kubeVip()) + "---\nkind: ConfigMap\ndata:\n  a.sh: |\n    #!/bin/sh\n    sed -i '/vip_arp/d' " + onNode + "\n", says: "still names kube-vip", out: "kind: DaemonSet"},
		"nerdctl":                      {src: controlPlane("KubeadmControlPlane", entry(onNode, kubeVip())) + "    preKubeadmCommands:\n    - nerdctl run -d -e vip_arp=true ghcr.io/kube-vip/kube-vip:v0.8.0 manager\n", refused: true, at: "nerdctl", says: "a command starts kube-vip here"},
		"a unit of systemd":            {src: controlPlane("KubeadmControlPlane", entry(onNode, kubeVip()), entry("/etc/systemd/system/vip.service", "[Service]\nExecStart=/usr/local/bin/kube-vip manager\n")), refused: true, at: "ExecStart", says: "a command starts kube-vip here"},
		"from a URL":                   {src: with(kubeVip(), "kubectl apply -f https://example.com/kube-vip-ds.yaml"), says: "a command installs kube-vip as well", out: "vipd.yaml"},
		"its rights":                   {src: with(kubeVip(), "kubectl apply -f https://kube-vip.io/manifests/rbac.yaml"), says: "still names kube-vip", out: "vipd.yaml"},
		"Ignition's unit":              {src: controlPlane("KubeadmControlPlane", entry(onNode, kubeVip())) + "    ignition:\n      containerLinuxConfig:\n        additionalConfig: |\n          systemd:\n            units:\n            - name: a.service\n              contents: |\n                [Service]\n                ExecStart=/usr/bin/sed -i s#/admin.conf#/super-admin.conf# " + onNode + "\n", says: "this refers to " + onNode + " and was changed", out: "#/super-admin.conf# /etc/kubernetes/manifests/vipd.yaml\n"},
		"a unit with sed":              {src: controlPlane("KubeadmControlPlane", entry(onNode, kubeVip()), entry("/etc/systemd/system/fix.service", "[Service]\nExecStart=/bin/sh -c \"sed -i 's/vip_arp/x/' "+onNode+"\"\n")), refused: true, at: "ExecStart", says: "vip_arp"},
		"a script of Python":           {src: controlPlane("KubeadmControlPlane", entry(onNode, kubeVip()), entry("/opt/fix.py", "#!/usr/bin/env python3\nimport yaml\np = \""+onNode+"\"\n")), refused: true, at: "python3", says: "a program changes kube-vip's manifest by its structure"},
		"Python in a shell":            {src: with(kubeVip(), "python3 -c '\nimport yaml\np = \""+onNode+"\"\n'"), refused: true, at: "python3", says: "a program changes"},
		"another Python":               {src: controlPlane("KubeadmControlPlane", entry(onNode, kubeVip()), entry("/opt/a.py", "#!/usr/bin/env python3\nprint('kube-vip')\n")), out: "manifests/vipd.yaml"},
		"a list of words":              {src: "#cloud-config\nwrite_files:\n- " + indented(entry(onNode, withAddress("__VIP__")), 2) + "runcmd:\n- [sed, -i, s/__VIP__/10.0.0.9/, " + onNode + "]\n", out: "- [sed, -i, s/__VIP__/10.0.0.9/, /etc/kubernetes/manifests/vipd.yaml]\n"},
		"a list that prepares":         {src: "#cloud-config\nwrite_files:\n- " + indented(entry(onNode, kubeVip()), 2) + "runcmd:\n- [sed, -i, s#admin.conf#super-admin.conf#, " + onNode + "]\n- [kubeadm, init]\n", out: "runcmd:\n- [kubeadm, init]\n"},
		"cloud-init, encoded":          {src: "#cloud-config\nwrite_files:\n- path: " + onNode + "\n  encoding: b64\n  content: a3ViZQ==\n", refused: true, at: "path", says: "the manifest is encoded (b64)"},
		"Butane":                       {src: "storage:\n  files:\n  - path: " + onNode + "\n    contents:\n" + under("      inline: |", kubeVip(), 8), out: "path: /etc/kubernetes/manifests/vipd.yaml"},
		"Butane, another file":         {src: "storage:\n  files:\n  - path: " + onNode + "\n    contents:\n      local: a.yaml\n", refused: true, at: "path", says: "the content of kube-vip's manifest is not here"},
		"Ignition":                     {src: "storage:\n  files:\n  - path: " + onNode + "\n    contents:\n      source: data:,kind%3A%20Pod\n", refused: true, at: "path", says: "the manifest is encoded (a data URL)"},
		"no content":                   {src: controlPlane("KubeadmControlPlane", "path: "+onNode+"\n"), refused: true, at: onNode, says: "the content of kube-vip's manifest is not here"},
		"a patch in a file":            {src: "- op: replace\n  path: /spec/kubeadmConfigSpec/files/0/content\n" + under("  value: |", kubeVip(), 4), says: "whose path is elsewhere, and does not change", out: "name: vipd"},
		"a name for all":               {src: controlPlane("KubeadmControlPlane", entry(onNode, kubeVip("vip_nodename=n1"))), says: "vip_nodename=n1 removed: each node would have this name", out: "name: vipd"},
		"Ansible, a word of vipd's":    {src: controlPlane("KubeadmControlPlane", entry(onNode, withAddress("VIP"))) + "---\n- replace:\n    path: " + onNode + "\n    regexp: VIP\n    replace: 192.168.35.100\n", refused: true, at: "path:", says: "also in"},
		"a name for all, DaemonSet":    {src: daemonSet(kubeVip("vip_nodename=n1")), says: "vip_nodename=n1 removed: each node would have this name", out: "name: vipd"},
		"a name for all, a variable":   {src: daemonSet(kubeVip("vip_nodename=${NODE}")), says: "vip_nodename=${NODE} removed: each node", out: "name: vipd"},
		"a name for all, cloud-init":   {src: "#cloud-config\nwrite_files:\n- " + indented(entry(onNode, kubeVip("vip_nodename=n1")), 2), says: "each node would have this name", out: "name: vipd"},
		"a name for one":               {src: kubeVip("vip_nodename=n1"), out: "name: VIPD_NODE_NAME\n      value: n1\n"},
		"two interfaces":               {src: kubeVip(`vip_interface="eth0,eth1"`), refused: true, at: "name: vip_interface", says: "is not the name of one interface"},
		"a list with a name":           {src: "#cloud-config\nwrite_files:\n- " + indented(entry(onNode, kubeVip()), 2) + "runcmd:\n- [sed, -i, s/vip_arp/x/, " + onNode + "]\n", refused: true, at: "vip_arp", says: "vip_arp"},
	} {
		t.Run(name, c.run)
	}
}

// TestKustomize: a Kustomization in a file of its own.
func TestKustomize(t *testing.T) {
	for name, c := range map[string]struct {
		src  string
		line int // of the refusal, 0 for none
	}{
		"an image":                  {"resources: [kube-vip.yaml]\nimages:\n- name: ghcr.io/kube-vip/kube-vip\n  newTag: v1\n", 4},
		"any DaemonSet":             {"patches:\n- patch: |-\n    - {op: remove, path: /spec/template/spec/containers/0/env/3}\n  target:\n    kind: DaemonSet\n", 6},
		"another DaemonSet":         {"patches:\n- patch: x\n  target: {kind: DaemonSet, name: cilium}\n", 0},
		"a name in a patch":         {"patches:\n- patch: |-\n    kind: DaemonSet\n    metadata: {name: kube-vip-ds}\n", 3},
		"a file of a name":          {"patchesStrategicMerge: [kube-vip-address.yaml]\n", 2},
		"a replacement":             {"replacements:\n- source: {kind: ConfigMap, name: vip}\n  targets:\n  - select: {name: kube-vip-ds}\n", 3},
		"what has nothing to do":    {"resources: [kube-vip.yaml]\nnamePrefix: a-\n", 0},
		"a patch of a controlplane": {"patches:\n- patch: kube-vip\n  target: {kind: KubeadmControlPlane}\n", 0},
	} {
		_, errs := Files([]string{"kind: Kustomization\n" + c.src, daemonSet(kubeVip())}, options)
		var r *Refusal
		if refused := errors.As(errs[0], &r); errs[1] != nil || refused != (c.line > 0) || refused && r.Line != c.line {
			t.Errorf("%s: %v, want line %d refused", name, errs, c.line)
		}
	}
	part := "kind: DaemonSet\nmetadata:\n  name: kube-vip-ds\nspec:\n  template:\n    spec:\n      containers:\n      - name: kube-vip\n        env: [{name: address, value: 192.168.35.101}]\n"
	_, errs := Files([]string{part, daemonSet(kubeVip())}, options)
	if r := (*Refusal)(nil); !errors.As(errs[0], &r) || r.Line != 8 || errs[1] != nil {
		t.Errorf("%v, want a refusal of the part", errs)
	}
}

// TestDaemonSetElsewhere: a DaemonSet is no file of a node, so commands in another file do not refer
// to it.
func TestDaemonSetElsewhere(t *testing.T) {
	results, errs := Files([]string{daemonSet(kubeVip()), "kind: ConfigMap\ndata:\n  a: sed -i s/vip_arp/x/ " + onNode + " # kube-vip\n"}, options)
	if errs[0] != nil || !errors.Is(errs[1], ErrNoKubeVip) || len(results[1].Notes) > 0 {
		t.Fatalf("%v, %v", errs, results[1].Notes)
	}
}

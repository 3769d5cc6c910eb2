package migrate

import "testing"

// TestPuts: a command that writes the manifest from a replaced one goes on working; one that would
// write kube-vip into it is refused.
func TestPuts(t *testing.T) {
	const to = " " + onNode
	const tpl = "/etc/kube-vip.tpl"
	fromTemplate := func(address, command string) string {
		return controlPlane("KubeadmControlPlane", entry(tpl, withAddress(address))) + "    preKubeadmCommands:\n" + under("    - |", command, 6)
	}
	refused := func(command string) shape {
		return shape{src: with(kubeVip(), "echo\n"+command), refused: true, at: command[:8], says: "puts another file in the place of the manifest"}
	}
	for name, c := range map[string]shape{
		"envsubst":            {src: fromTemplate("$VIP", "export VIP=192.168.35.100\nenvsubst <"+" "+tpl+" >"+to), out: "envsubst < /etc/vipd.yaml > " + onNode},
		"envsubst, one word":  {src: fromTemplate("$VIP", "VIP=192.168.35.100 envsubst '$VIP' <"+tpl+" >"+onNode), out: "</etc/vipd.yaml >" + onNode},
		"cat, sed, tee":       {src: fromTemplate("__VIP__", "cat "+tpl+" | sed s/__VIP__/192.168.35.100/ | sudo tee"+to+" >/dev/null"), out: "cat /etc/vipd.yaml | sed"},
		"sed":                 {src: fromTemplate("__VIP__", "sed s/__VIP__/192.168.35.100/ "+tpl+" >"+to), out: "/etc/vipd.yaml > " + onNode},
		"sed, what is lost":   {src: fromTemplate("192.168.35.100", "sed s/kube-vip:v1/kube-vip:v2/ "+tpl+" >"+to), refused: true, at: "sed", says: "the change would be lost"},
		"yq":                  {src: fromTemplate("192.168.35.100", "yq '.spec.dnsPolicy = \"Default\"' "+tpl+" >"+to), refused: true, at: "yq", says: "by its structure (yq)"},
		"yq, another name":    {src: fromTemplate("192.168.35.100", "yq '.spec.dnsPolicy = \"Default\"' "+tpl+" > /etc/kubernetes/manifests/ha.yaml"), refused: true, at: "yq", says: "by its structure (yq)"},
		"appended":            {src: fromTemplate("192.168.35.100", "cat "+tpl+" >>"+to), refused: true, at: "- |", says: "a command writes kube-vip's manifest"},
		"appended by tee":     {src: fromTemplate("192.168.35.100", "cat "+tpl+" | tee -a"+to), refused: true, at: "- |", says: "a command writes kube-vip's manifest"},
		"from elsewhere":      {src: fromTemplate("192.168.35.100", "base64 -d /opt/vip.b64 >"+to), refused: true, at: "- |", says: "a command writes kube-vip's manifest"},
		"cp of the template":  {src: fromTemplate("192.168.35.100", "cp "+tpl+to), out: "cp /etc/vipd.yaml " + onNode},
		"a step between":      {src: with(withAddress("$VIP"), "VIP=1 envsubst <"+to+" > /tmp/x\nmv /tmp/x"+to), out: "mv /tmp/x /etc/kubernetes/manifests/vipd.yaml"},
		"away, and back":      {src: with(kubeVip(), "mv"+to+" /root/kv", "mv /root/kv"+to), out: "mv /root/kv /etc/kubernetes/manifests/vipd.yaml"},
		"from a variable":     {src: with(kubeVip(), "cp $SRC"+to), out: "cp $SRC /etc/kubernetes/manifests/vipd.yaml"},
		"curl":                refused("curl -sfL https://example.com/kube-vip.yaml -o" + to),
		"curl, a long option": refused("curl -s https://example.com/kube-vip.yaml --output=" + onNode),
		"wget":                refused("sudo wget -qO" + to + " https://example.com/kube-vip.yaml"),
		"cp":                  refused("cp -f /opt/kube-vip.yaml" + to),
		"ln":                  refused("ln -sf /opt/kube-vip.yaml" + to),
		"install":             refused("install -m 600 /opt/kube-vip.yaml" + to),
	} {
		t.Run(name, c.run)
	}
}

package migrate

import (
	"strings"
	"testing"
)

// TestAliases: the settings of kube-vip may be anchors and aliases.
func TestAliases(t *testing.T) {
	const arp = "    - name: vip_arp\n      value: \"true\"\n"
	env, _, _ := strings.Cut(strings.SplitAfter(kubeVip(), "    env:\n")[1], "    image:")
	for name, c := range map[string]shape{
		"a value":        {src: strings.Replace(withAddress("*vip"), "namespace: kube-system", "namespace: kube-system\n  annotations: {vip: &vip 192.168.35.100}", 1), out: "value: 192.168.35.100"},
		"an item":        {src: strings.Replace(kubeVip(), arp, "    - *arp\n", 1) + "x: &arp {name: vip_arp, value: \"true\"}\n", refused: true, says: "not YAML"}, // before its anchor
		"all settings":   {src: strings.Replace(strings.Replace(kubeVip(), "env:\n"+env, "env: *env\n", 1), "metadata:\n", "x-env: &env\n"+strings.ReplaceAll(env, "    ", "  ")+"metadata:\n", 1), out: "value: 192.168.35.100"},
		"a merge key":    {src: strings.Replace(kubeVip(), arp, "    - <<: &arp {name: vip_arp, value: \"false\"}\n      value: \"true\"\n", 1), out: "name: vipd"},
		"a merge of two": {src: strings.Replace(kubeVip(), arp, "    - <<: [{name: vip_arp}, {value: \"true\", name: x}]\n", 1), out: "name: vipd"},
		"in itself":      {src: strings.Replace(kubeVip(), "  hostNetwork", "  tolerations: &t [*t]\n  hostNetwork", 1), says: "spec.tolerations is not carried over", out: "name: vipd"},
	} {
		t.Run(name, c.run)
	}
}

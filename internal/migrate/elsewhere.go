package migrate

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Settings of kube-vip may be where no manifest is: in values of its Helm chart, in variables of
// kubespray, in a file of docker compose; and a manifest may be encoded.

var (
	// setting matches a variable of kube-vip, kubespray matches one of kubespray's for it.
	setting   = regexp.MustCompile(`^(?:vip_arp|vip_interface|vip_leaderelection|cp_enable)(?:=|$)`)
	kubespray = regexp.MustCompile(`^kube_vip_\w+$`)
	// vrrpConfig is the start of a section of keepalived.conf.
	vrrpConfig = regexp.MustCompile(`(?m)^\s*vrrp_(?:instance|sync_group|script)\s+\S+\s*\{`)
	// terraform is the start of a block of Terraform's language.
	terraform = regexp.MustCompile(`(?m)^\s*(?:resource|module|data|locals|variable|provider|output)(?:\s+"[^"\n]*")*\s*\{`)
)

// nothing returns why there is nothing to migrate.
func (m *migration) nothing(file *job, src string) error {
	src = withoutComments(src)
	if m.chart > 0 {
		return &Refusal{Line: m.chart, Reason: "kube-vip comes from a Helm chart here, which writes the manifest later",
			Way: "use the output of `vipd manifest daemonset`, and remove the chart before vipd starts; or migrate the output of `helm template`"}
	}
	for _, doc := range file.docs {
		if r := settingsElsewhere(root(doc)); r != nil {
			return r
		}
	}
	if at := keepalivedAt(src, file.copies()); at > 0 {
		return withVRRP(at)
	}
	name := kubeVipName.FindString(src)
	if name != "" && len(m.options.elsewhere) > 0 {
		return fmt.Errorf("%w; line %d names kube-vip", ErrNoKubeVip, lineOf(src, name))
	}
	if name != "" {
		return fmt.Errorf("%w; line %d refers to it: add the file with the manifest to the same command", ErrNoKubeVip, lineOf(src, name))
	}
	return ErrNoKubeVip
}

func withVRRP(line int) *Refusal {
	return &Refusal{Line: line, Reason: "keepalived holds the address here, not kube-vip: keepalived uses VRRP, and does not know vipd's Lease",
		Way: "remove keepalived's files and commands by hand, and add the output of `vipd manifest kcp`; never let both run at the same time"}
}

// settingsElsewhere returns a refusal for what makes kube-vip's manifest, or starts kube-vip, later.
func settingsElsewhere(doc *yaml.Node) (r *Refusal) {
	visit(doc, nil, func(n *yaml.Node) {
		if r == nil {
			r = maker(doc, n)
		}
	}, func(*yaml.Node, *yaml.Node) {})
	return r
}

func maker(doc, n *yaml.Node) *Refusal {
	compose := get(doc, "services") != nil && get(doc, "kind") == nil
	switch {
	case n.Kind == yaml.MappingNode && slices.ContainsFunc(keysOf(n), kubespray.MatchString):
		return &Refusal{Line: n.Line, Reason: "these are variables of Ansible, as kubespray's, which makes kube-vip's manifest from them later",
			Way: "let Ansible write the output of `vipd manifest pod` to the nodes, and switch kube-vip off there (kube_vip_enabled: false); or migrate the manifest of a node"}
	case compose && n.Kind == yaml.MappingNode && kubeVipImage.MatchString(str(get(n, "image"))):
		return &Refusal{Line: n.Line, Reason: "this starts kube-vip as a container without Kubernetes (docker compose)",
			Way: "use the output of `vipd manifest pod` with its settings, and remove this kube-vip before vipd starts"}
	case n.Kind == yaml.MappingNode && slices.ContainsFunc(keysOf(n), setting.MatchString):
		return &Refusal{Line: n.Line, Reason: "these are settings of kube-vip without its manifest, such as values of its Helm chart, which writes it later",
			Way: "use the output of `vipd manifest daemonset` or `vipd manifest pod` with them, and remove the chart before vipd starts; or migrate the output of `helm template`"}
	case n.Kind == yaml.ScalarNode && encoded(str(n)):
		return &Refusal{Line: n.Line, Reason: "a manifest of kube-vip is encoded here (base64)", Way: "write it as plain text (stringData in a Secret), and migrate again"}
	}
	return nil
}

// keysOf returns the keys of a mapping.
func keysOf(n *yaml.Node) (keys []string) {
	for i := 0; i < len(n.Content); i += 2 {
		keys = append(keys, str(n.Content[i]))
	}
	return keys
}

// encoded tells whether a string is a manifest of kube-vip in base64.
func encoded(s string) bool {
	text, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(s), ""))
	return err == nil && workload.Match(text) && imageLine.Match(text)
}

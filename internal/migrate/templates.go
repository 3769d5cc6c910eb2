package migrate

import (
	"regexp"
	"strings"
)

var (
	yttSign   = regexp.MustCompile(`(?m)^[ \t]*#@|[ \t]#@ |\(@=`)
	goSign    = regexp.MustCompile(`\{\{-?\s*(?:\.|\$|if |else|end|range |with |include |template |define |printf |tpl |toYaml |quote )`)
	jinjaSign = regexp.MustCompile(`\{\{|\{%|\{#`)
	generated = regexp.MustCompile(`kube-?vip\S*(?:\s+\S+)*?\s+manifest\s+(?:pod|daemonset)\b`)
	heredoc   = regexp.MustCompile(`(?:<<-?\s*['"]?\w+|\btee\b.*manifests/\S*vip\S*\.ya?ml|>\s*\S*manifests/\S*vip\S*\.ya?ml)`)
)

// Remedies.
const (
	rendered   = "render the templates first, and migrate the result; or insert the output of `vipd manifest pod` into the template by hand"
	scriptsWay = "write the output of `vipd manifest pod` to a file, and let the script copy that file to /etc/kubernetes/manifests/vipd.yaml"
)

// templates refuses a ytt template, which is valid YAML.
func templates(src string) error {
	if at := yttSign.FindStringIndex(src); at != nil && kubeVipName.MatchString(src) {
		return &Refusal{Line: lineAt(src, at[1]-1), Reason: "this is a ytt template", Way: rendered}
	}
	return nil
}

// notYAML says what a text that is not YAML is.
func notYAML(src string) error {
	switch at := jinjaSign.FindStringIndex(src); {
	case goSign.MatchString(src):
		return &Refusal{Line: lineAt(src, goSign.FindStringIndex(src)[0]), Reason: "this is a Go template (Helm, or a controller's), not YAML", Way: rendered}
	case at != nil:
		return &Refusal{Line: lineAt(src, at[0]), Reason: "this is a Jinja template (Ansible, kubespray), not YAML", Way: rendered}
	}
	return script(src)
}

// script refuses a shell script that writes the manifest.
func script(src string) error {
	for _, sign := range []*regexp.Regexp{generated, heredoc} {
		if at := sign.FindStringIndex(src); at != nil {
			return &Refusal{Line: lineAt(src, at[0]), Reason: "a script writes kube-vip's manifest on the node", Way: scriptsWay}
		}
	}
	if strings.HasPrefix(src, "#!") {
		return &Refusal{Line: 1, Reason: "this is a script, not a manifest", Way: scriptsWay}
	}
	return nil
}

// unrendered returns the line, from 0, of the first template expression in a manifest, and its kind
// as a reason.
func unrendered(pod string) (line int, reason string) {
	at := jinjaSign.FindStringIndex(pod)
	switch {
	case at == nil:
		return 0, ""
	case goSign.MatchString(pod):
		reason = "the manifest is a Go template"
	default:
		reason = "the manifest is a Jinja template"
	}
	return lineAt(pod, at[0]) - 1, reason
}

func lineAt(src string, offset int) int { return 1 + strings.Count(src[:offset], "\n") }

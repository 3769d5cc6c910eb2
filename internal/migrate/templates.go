package migrate

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var (
	yttSign   = regexp.MustCompile(`(?m)^[ \t]*#@|[ \t]#@ |\(@=`)
	goSign    = regexp.MustCompile(`\{\{-?\s*(?:\.|\$|if |else|end|range |with |include |template |define |printf |tpl |toYaml |quote )`)
	jinjaSign = regexp.MustCompile(`\{\{|\{%|\{#`)
	// control is a statement of a template language, which no YAML contains outside of strings.
	control   = regexp.MustCompile(`(\{\{-?\s*(?:if |else|end\b|range |with |include |template |define |/\*))|(\{%|\{#)|(%\{)`)
	generated = regexp.MustCompile(`kube-?vip\S*(?:\s+\S+)*?\s+manifest\s+(?:pod|daemonset)\b`)
	// intoManifest is a command that writes a manifest of kube-vip from its input.
	intoManifest = regexp.MustCompile(`\btee\b.*manifests/\S*vip\S*\.ya?ml|>\s*\S*manifests/\S*vip\S*\.ya?ml`)
	heredoc      = regexp.MustCompile(`(?m)(?:<<-?[ \t]*['"]?\w+['"]?[ \t]*(?:$|\r|[|;&)]|>[ \t]*[^>\s])|\btee\b.*manifests/\S*vip\S*\.ya?ml|>\s*\S*manifests/\S*vip\S*\.ya?ml)`)
	// quoting is an expression whose result has quotes, or is YAML.
	quoting = regexp.MustCompile(`\{\{[^}]*\b(?:quote|squote|to\w*Json|toYaml|%q)\b[^}]*\}\}|\{\{[^}]*%q`)
	// workload is the kind of a manifest in a script, and cpEnable the value of the variable there,
	// with whatever quotes and escapes.
	workload = regexp.MustCompile(`kind[\\"']*:[\s\\"']*(?:Pod|DaemonSet|Deployment)\b`)
	cpEnable = regexp.MustCompile(`cp_enable[^\n]*\n?[^\n]*value[\\"':\s]*([^\s\\"',}]*)`)
	oldest   = regexp.MustCompile(`(?m)^\s*-\s*[\\"']*start\b|\[[\\"']*start\b`)
)

// Remedies.
const (
	rendered   = "render the templates first, and migrate the result; or insert the output of `vipd manifest pod` into the template by hand"
	conditions = "move the condition to `enabledIf` of the patch, and migrate again; or insert the output of `vipd manifest pod` into the template by hand"
	scriptsWay = "write the output of `vipd manifest pod` to a file, and let the script copy that file to /etc/kubernetes/manifests/vipd.yaml"
	scripted   = "a script writes kube-vip's manifest on the node"
)

// templates refuses a ytt template, which is valid YAML.
func templates(src string) error {
	if at := yttSign.FindStringIndex(src); at != nil && kubeVipName.MatchString(src) {
		return &Refusal{Line: lineAt(src, at[1]-1), Reason: "this is a ytt template", Way: rendered}
	}
	return nil
}

// notYAML says what a text is that is not YAML for the reason err.
func notYAML(src string, err error) *Refusal {
	if isScript(src) {
		return script(src)
	}
	if at := control.FindStringSubmatchIndex(src); at != nil {
		language := "Terraform template"
		switch {
		case at[2] >= 0:
			language = "Go template (Helm, or a controller's)"
		case at[4] >= 0:
			language = "Jinja template (Ansible, kubespray)"
		}
		return &Refusal{Line: lineAt(src, at[0]), Reason: "this is a " + language + ", not YAML", Way: rendered}
	}
	if at := terraform.FindStringIndex(src); at != nil {
		return &Refusal{Line: lineAt(src, at[1]-1), Reason: "this is in Terraform's language, not YAML", Way: rendered}
	}
	if r := script(src); r != nil {
		return r
	}
	reason := strings.TrimPrefix(err.Error(), "read YAML: yaml: ")
	r := &Refusal{Reason: "this is not YAML: " + errorLine.ReplaceAllString(reason, ""), Way: "correct it, and migrate again"}
	if at := errorLine.FindStringSubmatch(reason); at != nil {
		r.Line, _ = strconv.Atoi(at[1])
		r.Line = brokenLine(src, r.Line)
	}
	for _, line := range []int{r.Line, r.Line - 1} {
		if lines := strings.Split(src, "\n"); line > 0 && line <= len(lines) && expression.MatchString(lines[line-1]) {
			language := "Jinja"
			if goSign.MatchString(lines[line-1]) {
				language = "Go"
			}
			return &Refusal{Line: line, Reason: "this is a " + language + " template, not YAML: what this expression stands for is not known",
				Way: "write what it stands for, and migrate again; or insert the output of `vipd manifest pod` into the template by hand"}
		}
	}
	return r
}

// expression is a line that a template language replaces as a whole.
var expression = regexp.MustCompile(`^\s*\{\{.*\}\}\s*$`)

// errorLine is the line in an error of yaml.v3.
var errorLine = regexp.MustCompile(`^line (\d+): `)

// brokenLine returns the line from which on a text is not YAML: yaml.v3 names a line at which what
// contains it begins, or one before.
func brokenLine(src string, named int) int {
	const further = 100
	t := newText(hideLines(src, false))
	broken := max(named, 1)
	for line := max(named-2, 0); line < min(named+further, len(t.lines)); line++ {
		if _, err := newJob(t.src[:t.lineStart(line+1)]); err == nil {
			broken = line + 1
		}
	}
	return broken
}

func isScript(src string) bool { return strings.HasPrefix(src, "#!") }

// script refuses a shell script that writes the manifest.
func script(src string) *Refusal {
	for _, sign := range []*regexp.Regexp{generated, heredoc} {
		if at := sign.FindStringIndex(src); at != nil {
			return &Refusal{Line: lineAt(src, at[0]), Reason: scripted, Way: scriptsWay}
		}
	}
	if isScript(src) {
		return &Refusal{Line: 1, Reason: "this is a script, not a manifest", Way: scriptsWay}
	}
	return nil
}

// writes returns the line of a script where it writes a manifest of a kube-vip that holds the
// address of the control plane, 0 for none.
func writes(script string) int {
	if at := generated.FindStringIndex(script); at != nil && strings.Contains(script, "-controlplane") {
		return lineAt(script, at[0])
	}
	at := workload.FindStringIndex(script)
	if at == nil || !strings.Contains(script, "vip_") && !imageLine.MatchString(script) {
		return 0
	}
	if !oldest.MatchString(script) && !strings.Contains(script, "cp_enable") && !strings.Contains(script, "--controlplane") {
		return 0 // Services only
	}
	values := cpEnable.FindAllStringSubmatch(script, -1)
	off := func(value []string) bool {
		on, err := strconv.ParseBool(value[1])
		return err == nil && !on
	}
	if len(values) > 0 && !slices.ContainsFunc(values, func(value []string) bool { return !off(value) }) {
		return 0
	}
	return lineAt(script, at[0])
}

// shell matches the start of a command, which may have a colon in it as YAML.
var shell = regexp.MustCompile(`^\s*(?:\w+=|(?:sudo|cat|echo|printf|tee|mkdir|export|set|if|for|while|python3?|bash|sh|kubectl)\s)`)

// unrendered returns the line, from 0, of the first template expression in a manifest, and its kind
// as a reason.
func unrendered(pod string) (line int, reason string) {
	pod = commentLine.ReplaceAllStringFunc(pod, func(s string) string { return strings.Repeat(" ", len(s)) })
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

// commentLine is a line with a comment and nothing else.
var commentLine = regexp.MustCompile(`(?m)^[ \t]*#.*$`)

func lineAt(src string, offset int) int { return 1 + strings.Count(src[:offset], "\n") }

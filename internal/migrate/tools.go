package migrate

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Other tools than Cluster API write files of a node, and change them: Ansible, k0sctl, kustomize,
// Helm.

// foundEntry is a mapping.
type foundEntry struct {
	job *job
	n   *yaml.Node
}

// inline tells whether a mapping has the content of a file.
func (at place) inline(n *yaml.Node) bool {
	return get(n, "content") != nil || get(n, "data") != nil && get(n, "dst") != nil || get(n, "contents", "inline") != nil
}

// contentOf returns the content of the file that a mapping is about, nil if it is not here: content,
// and Ignition's contents.inline.
func contentOf(n *yaml.Node) *yaml.Node {
	content := get(n, "content")
	if content == nil {
		content = get(n, "contents", "inline")
	}
	if content != nil && content.Kind == yaml.AliasNode {
		return content.Alias
	}
	return content
}

// fileOf returns the path of the file that a mapping is about: Cluster API's and cloud-init's path,
// Ansible's dest, k0sctl's dst.
func fileOf(n *yaml.Node) string {
	for _, key := range []string{"path", "dest", "dst"} {
		if s := str(get(n, key)); s != "" {
			return s
		}
	}
	return ""
}

// isInPlace tells whether a mapping has the arguments of Ansible's replace, lineinfile or
// blockinfile.
func isInPlace(n *yaml.Node) bool {
	return fileOf(n) != "" && slices.ContainsFunc([]string{"regexp", "line", "block", "insertafter", "insertbefore", "search_string"}, func(key string) bool { return get(n, key) != nil })
}

// checkInPlace refuses a task of Ansible whose change of kube-vip's manifest would be lost.
func (m *migration) checkInPlace() error {
	for _, e := range m.inPlace {
		for _, w := range m.all() {
			if !w.touched(fileOf(e.n)) {
				continue
			}
			re, err := regexp.Compile(str(get(e.n, "regexp")))
			line := get(e.n, "line") != nil && get(e.n, "regexp") != nil && err == nil && len(matching(re, w.after)) > 0 && w.sameIndent(re)
			if get(e.n, "replace") == nil && !line || err != nil {
				return e.job.refuse(e.n, "a task of Ansible changes lines of kube-vip's manifest, and adds a line to a manifest that has none of them, as vipd's", byHand)
			}
			if r := w.lostMatch(re, "a task of Ansible"); r != nil {
				r.Line = e.job.fileLine(e.n.Line)
				return r
			}
			if line := w.hitsOther(re); line != "" {
				return e.job.refuse(e.n, fmt.Sprintf("a task of Ansible changes %q, and that is also in %q of vipd's manifest", re, line), otherPlaceholder)
			}
		}
	}
	return nil
}

// isChart tells whether a mapping is an object that installs kube-vip's Helm chart.
func isChart(n *yaml.Node) bool {
	kind := str(get(n, "kind"))
	return slices.Contains([]string{"HelmChart", "HelmChartConfig", "HelmRelease", "HelmChartProxy", "HelmRepository", "Application", "ApplicationSet"}, kind) && namesKubeVip(get(n, "spec"))
}

// patchesKubeVip returns the line where a Kustomization changes kube-vip's manifest, 0 for nowhere.
func patchesKubeVip(n *yaml.Node) int {
	if kind := str(get(n, "kind")); kind != "Kustomization" && kind != "Component" {
		return 0
	}
	for _, key := range []string{"images", "patches", "patchesJson6902", "patchesStrategicMerge", "replacements"} {
		for _, change := range items(get(n, key)) {
			target := get(change, "target")
			workloads := target != nil && str(get(target, "name")) == "" && slices.Contains([]string{"", "Pod", "DaemonSet"}, str(get(target, "kind")))
			switch {
			case workloads || namesKubeVip(target):
				return target.Line
			case target == nil && namesKubeVip(change):
				return change.Line
			}
		}
	}
	return 0
}

func namesKubeVip(n *yaml.Node) bool {
	if n == nil {
		return false
	}
	return kubeVipName.MatchString(n.Value) || slices.ContainsFunc(n.Content, namesKubeVip)
}

// checkTools refuses what other tools do with kube-vip's manifest.
func (m *migration) checkTools() error {
	if m.kustomized > 0 && len(m.all()) > 0 {
		return &Refusal{Line: m.kustomized, Reason: "kustomize changes kube-vip's manifest here, and would not find it, or not what it changes in it",
			Way: "migrate the output of `kubectl kustomize`"}
	}
	return m.checkInPlace()
}

var (
	// starts is a command that starts kube-vip itself.
	starts = regexp.MustCompile(`\b(?:docker|nerdctl|podman|ctr)\b[^\n]*\brun\b[^\n]*kube-?vip[^\n]*|kube-?vip["']?,?\s+["']?manager\b`)
	// installs is a command that installs kube-vip from elsewhere.
	installs = regexp.MustCompile(`kubectl\b[^\n]*\b(?:apply|create)\b[^\n]*|helm\b[^\n]*\b(?:install|upgrade|template)\b[^\n]*`)
	// accessory is what belongs to kube-vip, and holds no address.
	accessory = regexp.MustCompile(`rbac|cloud-(?:provider|controller)`)
)

// checkStarts refuses commands that start kube-vip, and warns of those that install one.
func (m *migration) checkStarts() error {
	for _, t := range m.texts {
		text := withoutComments(str(t.n))
		if at := starts.FindString(text); at != "" && !strings.Contains(at, "manifest") {
			return &Refusal{Line: t.line(max(1, lineOf(str(t.n), at))), Reason: "a command starts kube-vip here, not a manifest: " + shorten(at),
				Way: "remove the command, and use the output of `vipd manifest pod` or `vipd manifest kcp` with its settings"}
		}
		for line := range strings.SplitSeq(text, "\n") {
			if at := installs.FindString(line); at != "" && kubeVipName.MatchString(line) && !accessory.MatchString(line) && len(m.all()) > 0 {
				m.notes = append(m.notes, Note{Line: t.line(max(1, lineOf(str(t.n), line))), Loss: true, Text: fmt.Sprintf("a command installs kube-vip as well (%s): if it holds the address of the control plane (cp_enable), remove it; "+
					"otherwise it may stay", shorten(strings.TrimSpace(line)))})
			}
		}
	}
	return nil
}

package migrate

import (
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// migration is the state of Migrate for one file: what walk found, and what edit did.
type migration struct {
	options Options
	notes   []Note
	kind    string // of the document

	pods     []foundPod
	files    []foundFile
	commands []foundCommand
	// dropped are the paths of removed files; renamed are the paths of renamed manifests.
	dropped, renamed []string
	// byVariable tells that a class takes the manifest from a variable of each Cluster.
	byVariable bool
	indexed    int  // line of a patch that addresses files or commands by index, 0 for none
	vipd       bool // the file contains vipd's manifest already
	own        bool // that manifest has its own credentials
	replaced   bool // a manifest in a file, not in a variable, was replaced
	kept       bool // a part of kube-vip is left on purpose
	announcer  bool // that part is a kube-vip for Services
}

type foundPod struct {
	job      *job
	n        *yaml.Node
	kind     string
	variable bool // in a variable of a Cluster, not in a file
}

// foundFile is an entry of `files`, and the list that contains it: `files` itself, or the patches
// of a class.
type foundFile struct {
	job   *job
	entry *yaml.Node
	list  list
	kind  string
}

type foundCommand struct {
	job  *job
	n    *yaml.Node
	list list
	kind string
}

// list is a sequence with its parent mapping and one of its items.
type list struct {
	job               *job
	parent, seq, item *yaml.Node
}

func root(doc *yaml.Node) *yaml.Node {
	if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 {
		return doc.Content[0]
	}
	return doc
}

var commandKeys = []string{"preKubeadmCommands", "postKubeadmCommands", "bootCommands"}

// walk finds pods, files and commands below a node. keys are the keys on the path to it.
func (m *migration) walk(j *job, n *yaml.Node, keys []string, variable bool) {
	switch n.Kind {
	case yaml.MappingNode:
		variable = variable || str(get(n, "name")) != "" && slices.Contains(keys, "variables") && get(n, "value") != nil
		if isPod(n) {
			m.pods = append(m.pods, foundPod{job: j, n: n, kind: m.kind, variable: variable})
			return
		}
		if isVipd(n) {
			m.vipd = true
			m.own = m.own || !usesAdmin(n)
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			m.walkKey(j, n, n.Content[i], n.Content[i+1], keys, variable)
		}
	case yaml.ScalarNode:
		m.walkString(j, n, keys, variable)
	default:
		for _, c := range n.Content {
			m.walk(j, c, keys, variable)
		}
	}
}

func (m *migration) walkKey(j *job, parent, key, n *yaml.Node, keys []string, variable bool) {
	seq := n.Kind == yaml.SequenceNode
	for _, item := range n.Content {
		l := list{job: j, parent: parent, seq: n, item: item}
		switch {
		case seq && key.Value == "files":
			m.files = append(m.files, foundFile{job: j, entry: item, list: l, kind: m.kind})
		case seq && slices.Contains(commandKeys, key.Value):
			m.commands = append(m.commands, foundCommand{job: j, n: item, list: l, kind: m.kind})
		case seq && key.Value == "jsonPatches":
			m.patch(l)
		}
	}
	if key.Value == "jsonPatches" && seq {
		return // patch has walked its items
	}
	m.walk(j, n, append(slices.Clip(keys), key.Value), variable)
}

// walkString parses a string that may contain a manifest or a file entry.
func (m *migration) walkString(j *job, n *yaml.Node, keys []string, variable bool) *job {
	if n.Tag != "!!str" || !strings.Contains(n.Value, ":") || !mentions(n.Value) && !strings.Contains(n.Value, "vipd") {
		return nil
	}
	in, err := newJob(n.Value)
	if err != nil || !slices.ContainsFunc(in.docs, func(d *yaml.Node) bool { return root(d).Kind == yaml.MappingNode }) {
		return nil
	}
	in.outer, in.at, in.templated = j, n, j.templated
	j.inner = append(j.inner, in)
	for _, doc := range in.docs {
		m.walk(in, doc, keys, variable)
	}
	return in
}

var (
	listPath   = regexp.MustCompile(`/(files|preKubeadmCommands|postKubeadmCommands|bootCommands)(?:/(-|\d+))?(?:/(\w+))?$`)
	variableIn = regexp.MustCompile(`content:\s*["']?\{\{`)
)

// patch handles one JSON patch of a ClusterClass.
func (m *migration) patch(l list) {
	path := listPath.FindStringSubmatch(str(get(l.item, "path")))
	from := get(l.item, "valueFrom", "template")
	if path == nil || str(get(l.item, "op")) == "remove" {
		m.walk(l.job, l.item, nil, false)
		return
	}
	if path[2] != "" && path[2] != "-" {
		m.indexed = l.job.fileLine(l.item.Line)
	}
	if path[3] == "content" && strings.Contains(strings.ToLower(str(get(l.item, "valueFrom", "variable"))), "vip") {
		m.byVariable = true
	}
	switch v := get(l.item, "value"); {
	case path[1] == "files" && from != nil:
		m.patchTemplate(l, from)
	case path[1] == "files" && v != nil && v.Kind == yaml.MappingNode:
		m.files = append(m.files, foundFile{job: l.job, entry: v, list: l, kind: m.kind})
		m.walk(l.job, v, nil, false)
	case path[1] == "files" && v != nil && v.Kind == yaml.SequenceNode:
		m.walkKey(l.job, l.item, &yaml.Node{Value: "files"}, v, nil, false)
	case path[1] != "files" && v != nil && v.Kind == yaml.SequenceNode:
		m.walkKey(l.job, l.item, &yaml.Node{Value: path[1]}, v, nil, false)
	case path[1] != "files" && v != nil:
		m.commands = append(m.commands, foundCommand{job: l.job, n: v, list: l, kind: m.kind})
	case path[1] != "files" && from != nil:
		m.commands = append(m.commands, foundCommand{job: l.job, n: from, list: l, kind: m.kind})
	}
}

// patchTemplate parses a template that becomes a file entry when rendered.
func (m *migration) patchTemplate(l list, from *yaml.Node) {
	if kubeVipName.MatchString(from.Value) && variableIn.MatchString(from.Value) {
		m.byVariable = true
		return
	}
	before := l.job.templated
	l.job.templated = true
	in := m.walkString(l.job, from, nil, false)
	l.job.templated = before
	if in != nil && len(in.docs) == 1 {
		m.files = append(m.files, foundFile{job: in, entry: root(in.docs[0]), list: l, kind: m.kind})
	}
}

// isPod tells whether a mapping is a kube-vip pod, or a workload with such pods.
func isPod(n *yaml.Node) bool {
	switch str(get(n, "kind")) {
	case "Pod", "DaemonSet", "Deployment":
	default:
		return false
	}
	return kubeVipContainer(spec(n)) != nil
}

// spec returns the spec of the pod, or of the pods of a workload.
func spec(n *yaml.Node) *yaml.Node {
	if t := get(n, "spec", "template", "spec"); t != nil {
		return t
	}
	return get(n, "spec")
}

var kubeVipImage = regexp.MustCompile(`(?:^|/)kube-vip(?:-iptables)?(?:[:@}]|$)`)

// kubeVipContainer returns the container of kube-vip, by its image or by its variables.
func kubeVipContainer(spec *yaml.Node) *yaml.Node {
	containers := get(spec, "containers")
	if containers == nil {
		return nil
	}
	for _, c := range containers.Content {
		image := str(get(c, "image"))
		if kubeVipImage.MatchString(image) || kubeVipEnv(c) { // the image may be vipd's
			return c
		}
	}
	return nil
}

func kubeVipEnv(container *yaml.Node) bool {
	env := get(container, "env")
	if env == nil {
		return false
	}
	return slices.ContainsFunc(env.Content, func(e *yaml.Node) bool {
		name := str(get(e, "name"))
		return name == "vip_arp" || name == "cp_enable" || name == "vip_leaderelection"
	})
}

// usesAdmin tells whether a pod uses kubeadm's credentials.
func usesAdmin(n *yaml.Node) bool {
	volumes := get(n, "spec", "volumes")
	return volumes != nil && slices.ContainsFunc(volumes.Content, func(v *yaml.Node) bool {
		return strings.HasSuffix(str(get(v, "hostPath", "path")), "admin.conf")
	})
}

// isVipd tells whether a mapping is vipd's pod.
func isVipd(n *yaml.Node) bool {
	containers := get(n, "spec", "containers")
	return str(get(n, "kind")) == "Pod" && containers != nil && slices.ContainsFunc(containers.Content, func(c *yaml.Node) bool {
		return str(get(c, "name")) == "vipd" || strings.Contains(str(get(c, "image")), "vipd")
	})
}

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
	kind    string     // of the document
	object  *yaml.Node // the object that contains what is walked, or its document

	pods     []foundPod
	files    []foundFile
	commands []foundCommand
	scripts  []foundText
	invalid  []foundText
	removals []list
	// texts are all strings that are neither manifests nor YAML with more than one string: commands,
	// scripts. gone are those that are removed.
	texts []foundText
	gone  map[*yaml.Node]bool
	// manifests are those that were replaced, addresses the VIPs in them, and unfilled the settings
	// in them that a command on the node has to replace.
	manifests []replaced
	addresses []string
	unfilled  []foundPlaceholder
	// inPlace are tasks of Ansible that change a file, chart is the line of a Helm chart of kube-vip,
	// and kustomized that of what kustomize changes in kube-vip's manifest, 0 for none.
	inPlace           []foundEntry
	chart, kustomized int
	// dropped are the paths of removed files; renamed are the renamed manifests.
	dropped []string
	renamed []renamed
	// owner is the object for whose nodes alone a string or a pod is, nil for others.
	owner map[*yaml.Node]*yaml.Node
	// byVariable tells that a class takes the manifest from a variable of each Cluster.
	byVariable bool
	indexed    int                 // line of a patch that addresses files or commands by index, 0 for none
	vipd       bool                // the file contains vipd's manifest already
	own        bool                // that manifest has its own credentials
	vipdFiles  []string            // the paths of that manifest on the node
	replaced   bool                // a manifest in a file, not in a variable, was replaced
	kept       bool                // a part of kube-vip is left on purpose
	applied    map[*yaml.Node]bool // contents of files that RKE2 or k3s apply, and that keep their names
	announcers []announcer         // those parts that are a kube-vip for Services
}

type foundPod struct {
	job      *job
	n        *yaml.Node
	kind     string
	variable bool   // the path of the file is elsewhere: in the class, for a variable of a Cluster
	file     string // its path on the node, "" if it is not known
	release  string // the distribution whose release the object asks for, "" if it does not tell
}

// foundFile is an entry of `files`, and the list that contains it: `files` itself, or the patches
// of a class.
type foundFile struct {
	job   *job
	entry *yaml.Node
	list  list
	kind  string
	// object is the object, or the document, whose files reach the same nodes.
	object *yaml.Node
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
	// up is the list whose item makes no sense without any item of this list, nil for none: a patch
	// without values, a definition without patches.
	up *list
}

func root(doc *yaml.Node) *yaml.Node {
	if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 {
		return doc.Content[0]
	}
	return doc
}

// commandKeys are the keys of commands in Cluster API's objects and in cloud-init.
var commandKeys = []string{"preKubeadmCommands", "postKubeadmCommands", "bootCommands", "preRKE2Commands", "postRKE2Commands", "preK3sCommands", "postK3sCommands", "runcmd", "bootcmd"}

// place is where walk is.
type place struct {
	keys     []string // on the path to the node
	variable bool     // the file that this is the content of is elsewhere
	file     string   // the path of the file on the node that this is the content of
	in       *list    // the definition or patch of a class that contains the node
}

// walk finds pods, files and commands below a node.
func (m *migration) walk(j *job, n *yaml.Node, at place) {
	switch n.Kind {
	case yaml.MappingNode:
		at.variable = at.variable || str(get(n, "name")) != "" && slices.Contains(at.keys, "variables") && get(n, "value") != nil
		if isPod(n) {
			p := foundPod{job: j, n: n, kind: m.kind, variable: at.variable, file: at.file, release: releaseOf(m.object)}
			m.owner[n] = m.ownerHere()
			if slices.Contains(at.keys, "machine") && slices.Contains(at.keys, "pods") || slices.Contains(at.keys, "inlineManifests") {
				p.kind = talos
			}
			m.pods = append(m.pods, p)
			return
		}
		if str(get(n, "kind")) != "" && get(n, "spec") != nil {
			defer func(before *yaml.Node) { m.object = before }(m.object)
			m.object = n
		}
		if isVipd(n) {
			m.vipd = true
			if at.file != "" {
				m.vipdFiles = append(m.vipdFiles, at.file)
			}
			m.own = m.own || !usesAdmin(n)
		}
		if at.inline(n) {
			at.file = fileOf(n)
		}
		if isInPlace(n) {
			m.inPlace = append(m.inPlace, foundEntry{job: j, n: n})
		}
		if isChart(n) && m.chart == 0 {
			m.chart = j.fileLine(n.Line)
		}
		if line := patchesKubeVip(n); line > 0 && m.kustomized == 0 {
			m.kustomized = j.fileLine(line)
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if isCopy(n, at.keys, n.Content[i].Value) {
				m.skip(j, n.Content[i+1])
				continue
			}
			m.walkKey(j, n, n.Content[i], n.Content[i+1], at)
		}
	case yaml.ScalarNode:
		m.walkString(j, n, at)
	case yaml.SequenceNode:
		m.walkItems(j, nil, n, "", at)
	default:
		for _, c := range n.Content {
			m.walk(j, c, at)
		}
	}
}

// skip notes the copies of kube-vip's manifest in annotations.
func (m *migration) skip(j *job, n *yaml.Node) {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if key := n.Content[i]; mentions(str(n.Content[i+1])) {
			m.note(j.fileLine(key.Line), "the annotation "+str(key)+" has a copy of kube-vip's manifest, and was left as it is: what wrote it replaces it when the result is applied")
		}
	}
}

func (m *migration) walkKey(j *job, parent, key, n *yaml.Node, at place) {
	at.keys = append(slices.Clip(at.keys), key.Value)
	if n.Kind == yaml.SequenceNode {
		m.walkItems(j, parent, n, key.Value, at)
		return
	}
	m.walk(j, n, at)
}

// walkItems walks the items of a list. key is its key.
func (m *migration) walkItems(j *job, parent, seq *yaml.Node, key string, at place) {
	up := at.in
	for _, item := range seq.Content {
		l := list{job: j, parent: parent, seq: seq, item: item}
		switch {
		case isPatch(item):
			l.up = up
			m.patch(l)
			continue
		case key == "files" || key == "write_files":
			m.files = append(m.files, foundFile{job: j, entry: item, list: l, kind: m.kind, object: m.object})
		case slices.Contains(commandKeys, key):
			m.commands = append(m.commands, foundCommand{job: j, n: item, list: l, kind: m.kind})
			m.walkWords(j, item)
		case key == "definitions":
			l.up = up
			at.in = &l
		case key == "patches":
			at.in = &l
		}
		m.walk(j, item, at)
	}
}

// walkWords takes a command that is a list of words for a text.
func (m *migration) walkWords(j *job, item *yaml.Node) {
	if item.Kind != yaml.SequenceNode {
		return
	}
	n := &yaml.Node{Kind: yaml.ScalarNode, Value: textOf(item), Line: item.Line, Column: item.Column}
	m.owner[n] = m.ownerHere()
	m.texts = append(m.texts, foundText{job: j, kind: m.kind, n: n})
}

// oneCluster matches the kinds of objects that are for one cluster: what is in one of them has no
// effect on the nodes of another one.
var oneCluster = regexp.MustCompile(`(?:ControlPlane|Config)$`)

// ownerHere returns the object that contains what is walked, nil if others may contribute to the
// same nodes, as a class and its templates.
func (m *migration) ownerHere() *yaml.Node {
	if m.object == nil || !oneCluster.MatchString(str(get(root(m.object), "kind"))) {
		return nil
	}
	return root(m.object)
}

// sameNodes tells whether a string may be for the same nodes as what an object owns.
func (m *migration) sameNodes(n, owner *yaml.Node) bool {
	return owner == nil || m.owner[n] == nil || m.owner[n] == owner
}

// textOf returns the text of a command, which may be a list of words.
func textOf(n *yaml.Node) string {
	if n.Kind != yaml.SequenceNode {
		return str(n)
	}
	var words []string
	for _, n := range n.Content {
		word := str(n)
		if strings.ContainsAny(word, " \t\n;|&$*\"") {
			word = "'" + word + "'"
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// walkString parses a string that may contain a manifest or file entries.
func (m *migration) walkString(j *job, n *yaml.Node, at place) *job {
	m.owner[n] = m.ownerHere()
	in := m.parseString(j, n)
	if in == nil {
		m.texts = append(m.texts, foundText{job: j, n: n, kind: m.kind})
		return nil
	}
	for _, doc := range in.docs {
		m.walk(in, doc, at)
	}
	return in
}

// parseString returns the job of a string that contains YAML, nil for another string.
func (m *migration) parseString(j *job, n *yaml.Node) *job {
	text := str(n)
	if n.Tag != "!!str" || !strings.ContainsAny(text, ":-") || !mentions(text) && !strings.Contains(text, "vipd") {
		return nil
	}
	in, err := newJob(n.Value)
	if err == nil && slices.ContainsFunc(in.docs, isCommand) {
		return nil
	}
	if isScript(text) || err == nil && slices.ContainsFunc(in.docs, odd) {
		m.scripts = append(m.scripts, foundText{job: j, n: n})
		return nil
	}
	if err != nil {
		m.invalid = append(m.invalid, foundText{job: j, n: n, err: err, templated: j.templated})
		return nil
	}
	if !slices.ContainsFunc(in.docs, func(d *yaml.Node) bool { return root(d).Kind != yaml.ScalarNode }) {
		return nil
	}
	in.outer, in.at, in.templated = j, n, j.templated
	j.inner = append(j.inner, in)
	return in
}

// foundText is a string that is a script, or that is not YAML for the reason err.
type foundText struct {
	job  *job
	n    *yaml.Node
	kind string
	err  error
	// templated tells that it is a template of a ClusterClass.
	templated bool
}

// line converts a line of the string to a line of the file.
func (t foundText) line(line int) int {
	return (&job{text: newText(t.n.Value), outer: t.job, at: t.n}).fileLine(line)
}

// odd tells whether a document is a pod with a key that no pod has: a script may be YAML by chance,
// with keys such as `echo "apiVersion`.
func odd(doc *yaml.Node) bool {
	n := root(doc)
	for i := 0; isPod(n) && i+1 < len(n.Content); i += 2 {
		if strings.ContainsAny(n.Content[i].Value, " \"'\\") {
			return true
		}
	}
	return false
}

// isCommand tells whether a document is a command that is YAML by chance, with a colon in its quotes.
func isCommand(doc *yaml.Node) bool {
	n := root(doc)
	return n.Kind == yaml.MappingNode && len(n.Content) > 0 && !isPod(n) && strings.ContainsAny(n.Content[0].Value, "'\"") && strings.Contains(n.Content[0].Value, " ")
}

// isPatch tells whether a mapping is an operation of a JSON patch.
func isPatch(n *yaml.Node) bool {
	return str(get(n, "op")) != "" && strings.HasPrefix(str(get(n, "path")), "/")
}

var (
	listPath   = regexp.MustCompile(`/(files|preKubeadmCommands|postKubeadmCommands|bootCommands)(?:/(-|\d+))?(?:/(\w+))?$`)
	variableIn = regexp.MustCompile(`content:\s*["']?\{\{`)
)

// patch handles one operation of a JSON patch, as in a ClusterClass.
func (m *migration) patch(l list) {
	value, from := get(l.item, "value"), get(l.item, "valueFrom", "template")
	path := listPath.FindStringSubmatch(str(get(l.item, "path")))
	if str(get(l.item, "op")) == "remove" {
		return
	}
	if path == nil {
		path = make([]string, 4) // another part of the object, perhaps with the list inside
	}
	if path[2] != "" && path[2] != "-" {
		m.indexed = l.job.fileLine(l.item.Line)
	}
	if path[1] == "files" && path[3] != "path" && strings.Contains(strings.ToLower(str(get(l.item, "valueFrom", "variable"))), "vip") {
		m.byVariable = true
	}
	at := place{variable: path[3] == "content"}
	switch {
	case from != nil:
		m.patchTemplate(l, from, path, at)
	case value != nil:
		m.patchItems(l, l.job, l.item, value, path)
		m.walk(l.job, value, at)
	}
}

// patchTemplate parses a template that becomes the value of a patch when rendered.
func (m *migration) patchTemplate(l list, from *yaml.Node, path []string, at place) {
	if text := str(from); kubeVipName.MatchString(text) && variableIn.MatchString(text) {
		m.byVariable = true
		return
	}
	before := l.job.templated
	l.job.templated = true
	in := m.walkString(l.job, from, at)
	l.job.templated = before
	switch {
	case in != nil && len(in.docs) == 1:
		m.patchItems(l, in, nil, root(in.docs[0]), path)
	case path[1] != "files":
		m.patchItems(l, l.job, nil, from, path)
	}
}

// patchItems adds what a patch writes to a list of files or commands: an item, or the whole list.
func (m *migration) patchItems(l list, j *job, parent, n *yaml.Node, path []string) {
	switch {
	case path[1] == "" || path[3] != "":
		return
	case n.Kind == yaml.SequenceNode:
		for _, item := range n.Content {
			m.patchItem(list{job: j, parent: parent, seq: n, item: item, up: &l}, j, item, path[1])
		}
	default:
		m.patchItem(l, j, n, path[1])
	}
}

func (m *migration) patchItem(l list, j *job, n *yaml.Node, key string) {
	if key == "files" {
		m.files = append(m.files, foundFile{job: j, entry: n, list: l, kind: m.kind, object: m.object})
		return
	}
	m.commands = append(m.commands, foundCommand{job: j, n: n, list: l, kind: m.kind})
}

// isPod tells whether a mapping is a kube-vip pod, or a workload with such pods.
func isPod(n *yaml.Node) bool {
	switch str(get(n, "kind")) {
	case "Pod", "DaemonSet", "Deployment", "StatefulSet", "ReplicaSet":
	default:
		return false
	}
	return kubeVipContainer(spec(unaliased(n))) != nil
}

// spec returns the spec of the pod, or of the pods of a workload.
func spec(n *yaml.Node) *yaml.Node {
	if t := get(n, "spec", "template", "spec"); t != nil {
		return t
	}
	return get(n, "spec")
}

var kubeVipImage = regexp.MustCompile(`(?:^|[/-])kube-vip(?:-iptables)?(?:[:@}]|$)`)

// kubeVipContainer returns the container of kube-vip, by its image or by its variables.
func kubeVipContainer(spec *yaml.Node) *yaml.Node {
	containers := get(spec, "containers")
	if containers == nil {
		return nil
	}
	for _, c := range containers.Content {
		image := str(get(c, "image"))
		part := image == "" && str(get(c, "name")) == "kube-vip"      // read refuses it
		if kubeVipImage.MatchString(image) || kubeVipEnv(c) || part { // the image may be vipd's
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
	return slices.ContainsFunc(items(get(spec(n), "volumes")), func(v *yaml.Node) bool {
		return strings.HasSuffix(str(get(v, "hostPath", "path")), "admin.conf")
	})
}

// isVipd tells whether a mapping is vipd's pod, or its DaemonSet.
func isVipd(n *yaml.Node) bool {
	kind := str(get(n, "kind"))
	return (kind == "Pod" || kind == "DaemonSet") && slices.ContainsFunc(items(get(spec(n), "containers")), func(c *yaml.Node) bool {
		return str(get(c, "name")) == "vipd" || strings.Contains(str(get(c, "image")), "vipd")
	})
}

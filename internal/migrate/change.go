package migrate

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/vipd-io/vipd/internal/manifest"
)

const (
	kubeVipPath = manifest.ManifestsDir + "/kube-vip.yaml"
	vipdPath    = manifest.ManifestsDir + "/vipd.yaml"
)

// edit makes the edits for what walk found.
func (m *migration) edit() error {
	if err := m.readable(); err != nil {
		return err
	}
	for _, p := range m.pods {
		if err := m.editPod(p); err != nil {
			return err
		}
	}
	for i := range m.files {
		if err := m.editFile(&m.files[i]); err != nil {
			return err
		}
	}
	if err := m.alone(); err != nil {
		return err
	}
	for _, w := range m.options.elsewhere {
		if !m.byVariable && w.path != w.renamed {
			m.renamed = append(m.renamed, renamed{name: w.path})
		}
	}
	for _, f := range m.files {
		if err := m.editScript(f); err != nil {
			return err
		}
	}
	for _, c := range m.commands {
		if err := m.editCommand(c); err != nil {
			return err
		}
	}
	if err := m.editTexts(); err != nil {
		return err
	}
	if m.indexed > 0 && len(m.dropped) > 0 {
		return &Refusal{Line: m.indexed, Reason: "this patch addresses files or commands by index, and some of these are removed",
			Way: "append to the list instead (/-), or remove " + strings.Join(m.dropped, " and ") + " by hand and migrate again"}
	}
	if m.byVariable {
		m.kept = true
		m.note(0, "the class takes the manifest from a variable of each Cluster, so migrate the Clusters. The class serves Clusters with kube-vip as well, "+
			"and is not changed: the file on the node is still "+kubeVipPath+" but contains vipd, and the class's other files for kube-vip have no effect there")
	}
	for _, step := range []func() error{m.checkTools, m.checkStarts, m.checkPuts, m.checkCommands, m.checkPlaceholders, m.remove, m.lint} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// readable refuses scripts that write a manifest, and manifests that are not YAML.
func (m *migration) readable() error {
	for _, s := range m.scripts {
		if line := writes(str(s.n)); line > 0 {
			return &Refusal{Line: s.line(line), Reason: scripted, Way: scriptsWay}
		}
		m.noteServices(s)
	}
	for _, s := range m.invalid {
		text := str(s.n)
		if shell.MatchString(text) {
			line := writes(text)
			if line == 0 {
				m.noteServices(s)
				continue
			}
			if r := script(text); r != nil {
				line = r.Line
			}
			return &Refusal{Line: s.line(line), Reason: scripted, Way: scriptsWay}
		}
		if workload.MatchString(text) && imageLine.MatchString(text) {
			r := notYAML(text, s.err)
			r.Line = s.line(max(r.Line, 1))
			if s.templated && r.Way == rendered {
				r.Way = conditions
			}
			return r
		}
	}
	return nil
}

// noteServices notes a script that writes a kube-vip for Services.
func (m *migration) noteServices(s foundText) {
	if text := str(s.n); workload.MatchString(text) && (imageLine.MatchString(text) || strings.Contains(text, "vip_")) {
		m.kept = true
		m.note(s.line(1), "a script writes a kube-vip that announces Services only, and was not changed")
	}
}

func (m *migration) note(line int, text string) {
	m.notes = append(m.notes, Note{Line: line, Text: text})
}

// editPod replaces a pod.
func (m *migration) editPod(p foundPod) error {
	start, end := p.job.start(p.n), 0
	end, err := p.job.end(p.n)
	if err != nil {
		return p.job.refuse(p.n, err.Error(), "write the manifest as `kubectl get -o yaml` does")
	}
	if p.n.Style&yaml.FlowStyle != 0 && p.job.line(start) != 1 {
		return p.job.refuse(p.n, "the manifest is JSON", "write it as YAML, as `kubectl get -o yaml` does")
	}
	r, kept, err := m.read(p, reveal(p.job.src[start:end]))
	if err != nil {
		return err
	}
	if kept {
		m.stays(r, reveal(p.job.src[start:end]))
		return nil
	}
	y := strings.TrimSuffix(r.yaml(), "\n")
	vipd, err := newJob(y)
	if err != nil {
		return p.job.refuse(p.n, "vipd's manifest would not be YAML: "+err.Error(), "replace the placeholders ${...} with their values, and migrate again")
	}
	doc := slices.IndexFunc(p.job.docs, func(d *yaml.Node) bool { return root(d) == p.n })
	if doc < 0 && len(vipd.docs) > 1 {
		return p.job.refuse(p.n, "vipd's DaemonSet comes with other objects, for which there is no place here", "write kube-vip's DaemonSet as a document of its own, and migrate again")
	}
	p.job.edits = append(p.job.edits, Edit{Start: start, End: end, Text: indented(y, p.n.Column-1)})
	m.replaced = m.replaced || !p.variable
	m.keep(p, r, reveal(p.job.src[start:end]), y)
	if p.file == "" {
		if err := r.checkWords(reveal(p.job.src[start:end]), y); err != nil {
			return err
		}
	}
	p.job.expect = append(p.job.expect, func() {
		if doc < 0 {
			*p.n = *root(vipd.docs[0])
			return
		}
		at := slices.IndexFunc(p.job.docs, func(d *yaml.Node) bool { return root(d) == p.n })
		p.job.docs = slices.Replace(p.job.docs, at, at+1, vipd.docs...)
	})
	if comment.MatchString(p.job.src[start:end]) {
		m.note(p.job.fileLine(p.n.Line), "the comments inside kube-vip's manifest are removed with it")
	}
	if r.daemonSet {
		m.noteDaemonSet(r)
		return nil
	}
	if image := str(get(r.n, "image")); p.job.outer == nil && kubeVipImage.MatchString(image) {
		m.note(p.job.fileLine(p.n.Line), "remove kube-vip's manifest from the node before vipd takes over: while both are in "+path.Dir(r.out.Path())+", vipd waits")
	} else if p.job.outer == nil {
		m.note(p.job.fileLine(p.n.Line), "remove kube-vip's manifest from the node before vipd's comes there: vipd does not know kube-vip by the image "+image+", and would not wait for it")
	}
	switch {
	case p.variable && p.file != "":
		m.note(p.job.fileLine(p.n.Line), "the path of this manifest is "+p.file+" and was not changed, although the manifest is vipd's now")
	case p.variable && p.kind == "ClusterClass":
		m.note(p.job.fileLine(p.n.Line), "this is the content of a file whose path is elsewhere in the class, and does not change, although the manifest is vipd's now")
	case p.variable && p.kind == "":
		m.note(p.job.fileLine(p.n.Line), "this is the content of a file whose path is elsewhere, and does not change, although the manifest is vipd's now")
	case p.variable:
		m.note(p.job.fileLine(p.n.Line), "the ClusterClass sets the path of this manifest on the node, which does not change: "+kubeVipPath+" with CAPV's classes, although the manifest is vipd's now")
	}
	return nil
}

// noteDaemonSet says how vipd's DaemonSet replaces kube-vip's.
func (m *migration) noteDaemonSet(r *reader) {
	name, line := str(get(r.pod.n, "metadata", "name")), r.line(r.pod.n)
	if strings.HasSuffix(path.Dir(r.pod.file), "/server/manifests") {
		m.applied[r.pod.job.at] = true
		m.note(line, r.out.Distribution.Name+" removes kube-vip's DaemonSet "+name+" when it applies this file, which keeps its name for that reason; the address is away until vipd's pods run")
	} else {
		m.note(line, "delete kube-vip's DaemonSet "+name+" before vipd's is applied: both on one node would use one name in the Lease, and vipd does not see that kube-vip. The address is away until vipd's pods run")
	}
	if release := str(get(r.pod.n, "metadata", "annotations", "meta.helm.sh/release-name")); release != "" {
		m.note(line, "Helm made this DaemonSet: uninstall the release "+release+", or Helm brings kube-vip back")
	}
	if namespace := str(get(r.pod.n, "metadata", "namespace")); namespace != "" && namespace != "kube-system" {
		m.note(line, "vipd's DaemonSet is in the namespace kube-system, not in "+namespace)
	}
	if r.out.Distribution.DataDir == "" {
		m.note(line, "a DaemonSet starts only if kubelet reaches the API server without the address; otherwise use `vipd manifest pod`, or no node comes up after a power failure of all")
	}
}

var comment = regexp.MustCompile(`(?m)(?:^|[ \t])#`)

// keepsHelpers tells whether what kube-vip needs besides its pod stays: in a class that serves
// clusters with kube-vip as well, and in a file whose kube-vip is elsewhere and stays.
func (m *migration) keepsHelpers(kind string) bool {
	if !m.own && !m.replaced && !m.options.replacedElsewhere() {
		return true
	}
	return m.byVariable && (kind == "ClusterClass" || kind == "KubeadmControlPlaneTemplate")
}

// editFile renames the manifest, and removes what only kube-vip needs.
func (m *migration) editFile(f *foundFile) error {
	content := contentOf(f.entry)
	name := str(get(f.entry, "path"))
	if name == "" {
		return nil
	}
	line := f.job.fileLine(f.entry.Line)
	inManifests := path.Dir(name) == manifest.ManifestsDir || strings.HasSuffix(path.Dir(name), "/manifests")
	switch {
	case m.hasPod(f.job, content):
		if m.keepsHelpers(f.kind) || path.Base(name) == "vipd.yaml" || m.applied[content] {
			return nil
		}
		return m.renameFile(f, name)
	case m.isAnnouncer(content):
		return nil
	case inManifests && kubeVipName.MatchString(name):
		return m.emptyManifest(f, content)
	case m.keepsHelpers(f.kind) || m.needed(name, str(content)):
		return nil
	case path.Base(name) == "kube-vip.hosts":
		return m.drop(f, line, name, "it made the name kubernetes known to kube-vip; vipd needs no name")
	case onlyPrepares(str(content), nil):
		return m.drop(f, line, name, "it gave kube-vip super-admin.conf; vipd makes its own credentials")
	}
	return nil
}

// renameFile renames the manifest to vipd's, unless its name is not known, or is in a command that
// cannot be changed.
func (m *migration) renameFile(f *foundFile, name string) error {
	line := f.job.fileLine(f.entry.Line)
	if err := m.twice(f, name); err != nil {
		return err
	}
	how, where := m.keepsPath(name, m.owner[contentOf(f.entry)])
	switch {
	case isTemplated(path.Base(name)), jinjaSign.MatchString(name):
		m.note(line, "the path of this manifest is "+name+" and was not changed, although the manifest is vipd's now")
		return nil
	case how != "" && where > 0:
		m.note(line, fmt.Sprintf("the path of this manifest is %s and was not changed, although the manifest is vipd's now: line %d refers to it as %s", name, where, how))
		return nil
	case how != "":
		m.note(line, fmt.Sprintf("the path of this manifest is %s and was not changed, although the manifest is vipd's now: another file refers to it as %s", name, how))
		return nil
	}
	to := inVipd(name)
	if err := m.free(f, name, to); err != nil {
		return err
	}
	owner := m.owner[contentOf(f.entry)]
	m.renamed = append(m.renamed, renamed{name: name, owner: owner})
	for i := range m.manifests {
		if m.manifests[i].path == name && m.manifests[i].owner == owner {
			m.manifests[i].renamed = to
		}
	}
	m.note(line, fmt.Sprintf("%s is now %s", name, to))
	return f.job.substitute(get(f.entry, "path"), []string{name}, inVipd)
}

// renamed is the path of a manifest that was renamed, and the object that owns it.
type renamed struct {
	name  string
	owner *yaml.Node
}

// inVipd returns the path of vipd's manifest in the place of kube-vip's.
func inVipd(name string) string { return path.Join(path.Dir(name), path.Base(vipdPath)) }

// free refuses to rename a manifest if another file of the object has that path, or would get it.
func (m *migration) free(f *foundFile, name, renamed string) error {
	for _, other := range m.files {
		taken := str(get(other.entry, "path"))
		content := contentOf(other.entry)
		switch {
		case other.object != f.object || taken == name:
			continue
		case taken == renamed:
			return f.job.refuse(f.entry, name+" would become "+renamed+", which is another file here", "keep one of the two files, and migrate again")
		case m.hasPod(other.job, content) && !m.applied[content] && inVipd(taken) == renamed:
			return f.job.refuse(f.entry, "two manifests of kube-vip, "+taken+" and "+name+", would both become "+renamed+", and their pods would both be called vipd",
				"keep one of them here, and migrate again: vipd needs one manifest for all nodes, also for the first one, and holds one address")
		}
	}
	return nil
}

// emptyManifest handles an entry for kube-vip's manifest that contains no manifest.
func (m *migration) emptyManifest(f *foundFile, content *yaml.Node) error {
	node := get(f.entry, "path")
	switch {
	case get(f.entry, "contentFrom") != nil:
		secret := str(get(f.entry, "contentFrom", "secret", "name"))
		return f.job.refuse(node, "the manifest is in the Secret "+secret, "migrate the manifest in the Secret (kubectl get secret "+secret+" -o go-template), and name the file vipd.yaml here by hand")
	case str(get(f.entry, "encoding")) != "":
		return f.job.refuse(node, "the manifest is encoded ("+str(get(f.entry, "encoding"))+")", "write it as plain text, without encoding, and migrate again")
	case strings.HasPrefix(str(get(f.entry, "contents", "source")), "data:"):
		return f.job.refuse(node, "the manifest is encoded (a data URL)", "write it as plain text, without encoding (contents.inline of Butane), and migrate again")
	case (content == nil || str(content) == "") && (m.byVariable || strings.HasSuffix(f.kind, "Template") || f.kind == "ClusterClass"):
		m.byVariable = true
		return nil
	case content == nil || str(content) == "":
		return f.job.refuse(node, "the content of kube-vip's manifest is not here", "migrate the manifest where it is, and name the file vipd.yaml here by hand; or write its text here, and migrate again")
	}
	if strings.Contains(str(content), "vipd") && !imageLine.MatchString(str(content)) {
		return nil // the path that commands refer to, or a class's, and vipd's manifest
	}
	if _, reason := unrendered(str(content)); reason != "" {
		return f.job.refuse(content, reason, rendered)
	}
	if script(str(content)) != nil {
		return f.job.refuse(content, scripted, scriptsWay)
	}
	if in, err := newJob(content.Value); err == nil && !slices.ContainsFunc(in.docs, func(d *yaml.Node) bool { return get(root(d), "kind") == nil || str(get(root(d), "kind")) == "Pod" }) {
		return nil // other objects, such as kube-vip's RBAC
	}
	return f.job.refuse(content, "this is not a valid manifest of kube-vip", "replace it with the output of `vipd manifest pod`, and the path with "+vipdPath)
}

func (m *migration) drop(f *foundFile, line int, name, why string) error {
	m.dropped = append(m.dropped, name)
	m.gone[contentOf(f.entry)] = true
	m.note(line, name+" dropped: "+why)
	m.removals = append(m.removals, f.list)
	return nil
}

// editScript changes a script that refers to kube-vip's manifest to refer to vipd's.
func (m *migration) editScript(f foundFile) error {
	name, content := str(get(f.entry, "path")), contentOf(f.entry)
	if m.hasPod(f.job, content) || m.keepsHelpers(f.kind) || slices.Contains(m.dropped, name) {
		return nil
	}
	old, err := m.rename(f.job, content)
	if old != "" {
		m.note(f.job.fileLine(content.Line), name+" refers to "+old+" and was changed to "+path.Base(vipdPath)+": check the result")
	}
	return err
}

// editTexts changes other texts that refer to kube-vip's manifest, such as a unit of systemd for
// Ignition.
func (m *migration) editTexts() error {
	done := make(map[*yaml.Node]bool)
	for _, f := range m.files {
		done[get(f.entry, "path")], done[contentOf(f.entry)] = true, true
	}
	for _, c := range m.commands {
		done[c.n] = true
		for _, word := range c.n.Content {
			done[word] = true
		}
	}
	for _, t := range m.texts {
		if text := str(t.n); generated.MatchString(text) && strings.Contains(text, "-controlplane") {
			return &Refusal{Line: t.line(writes(text)), Reason: scripted, Way: scriptsWay}
		}
		if done[t.n] || t.n.Tag != "!!str" || !strings.ContainsAny(t.n.Value, " \n") || m.keepsHelpers(t.kind) {
			continue
		}
		old, err := m.rename(t.job, t.n)
		if err != nil {
			return err
		}
		if old != "" {
			m.note(t.job.fileLine(t.n.Line), "this refers to "+old+" and was changed to "+path.Base(vipdPath)+": check the result")
		}
	}
	return nil
}

// rename changes a text that refers to renamed manifests, and returns the old names.
func (m *migration) rename(j *job, n *yaml.Node) (string, error) {
	var old []string
	for _, r := range m.renamed {
		name := r.name
		if m.sameNodes(n, r.owner) && strings.Contains(str(n), name) && len(mentioned(str(n), []string{name})) > 0 && !slices.Contains(old, name) {
			old = append(old, name)
		}
	}
	if len(old) == 0 {
		return "", nil
	}
	return strings.Join(old, " and "), j.substitute(n, old, inVipd)
}

// remove removes the dropped items, and what would be empty without them.
func (m *migration) remove() error {
	gone := make(map[*yaml.Node]map[*yaml.Node]bool)
	for i := 0; i < len(m.removals); i++ { // grows
		l := m.removals[i]
		if gone[l.seq] == nil {
			gone[l.seq] = make(map[*yaml.Node]bool)
		}
		gone[l.seq][l.item] = true
		if len(gone[l.seq]) == len(l.seq.Content) && l.up != nil {
			m.removals = append(m.removals, *l.up)
		}
	}
	for _, l := range m.removals {
		within := false
		for up := l.up; up != nil; up = up.up {
			within = within || gone[up.seq][up.item]
		}
		if within || !gone[l.seq][l.item] {
			continue
		}
		if err := l.job.removeItem(l); err != nil {
			return err
		}
	}
	return nil
}

// removeItem removes an item from its list, and the list with its last item.
func (j *job) removeItem(l list) error {
	if j.gone == nil {
		j.gone = make(map[*yaml.Node]int)
	}
	if j.gone[l.seq]++; j.gone[l.seq] == len(l.seq.Content) {
		if l.parent == nil {
			return j.refuse(l.seq, "the list would be empty", "remove it by hand, and migrate again")
		}
		if err := j.removeEmpty(l.parent, l.seq); err != nil {
			return err
		}
	}
	return j.remove(l.seq, l.item)
}

// hasPod tells whether a string is a manifest that was replaced.
func (m *migration) hasPod(j *job, content *yaml.Node) bool {
	if content == nil {
		return false
	}
	return slices.ContainsFunc(j.inner, func(in *job) bool { return in.at == content && len(in.edits) > 0 })
}

// editCommand removes a command that only prepares kube-vip's manifest, and changes one that does
// more to refer to vipd's.
func (m *migration) editCommand(c foundCommand) error {
	text := textOf(c.n)
	line := c.job.fileLine(c.n.Line)
	if generated.MatchString(text) || intoManifest.MatchString(text) && !m.fromManifest(text) || kubeVipName.MatchString(text) && heredoc.MatchString(text) && writes(text) > 0 {
		return c.job.refuse(c.n, "a command writes kube-vip's manifest on the node",
			"remove the command, and add the output of `vipd manifest kcp` to files")
	}
	if m.keepsHelpers(c.kind) {
		return nil
	}
	if onlyPrepares(text, m.dropped) && !m.needed("", text) {
		m.note(line, "command dropped: "+shorten(strings.TrimSpace(strings.Split(text, "\n")[0])))
		m.dropped = append(m.dropped, "the command")
		m.gone[c.n] = true
		m.removals = append(m.removals, c.list)
		return nil
	}
	for _, name := range m.dropped {
		if strings.Contains(text, name) {
			m.note(line, "this command refers to "+name+", which is removed, and does more: remove the reference by hand")
		}
	}
	if old, err := m.renameWords(c); old != "" || err != nil {
		m.note(line, "this command refers to "+old+" and was changed to "+path.Base(vipdPath)+": check the result, and apply it together with the manifest")
		return err
	}
	if strings.Contains(text, "/etc/hosts") && strings.Contains(text, " kubernetes\"") {
		m.note(line, "this command makes the name kubernetes known on the node; vipd does not need that, and the command was not changed")
	}
	return nil
}

// renameWords does rename for a command, which may be a list of words.
func (m *migration) renameWords(c foundCommand) (string, error) {
	if c.n.Kind != yaml.SequenceNode {
		return m.rename(c.job, c.n)
	}
	var all []string
	for _, word := range c.n.Content {
		old, err := m.rename(c.job, word)
		if err != nil {
			return "", err
		}
		if old != "" && !slices.Contains(all, old) {
			all = append(all, old)
		}
	}
	return strings.Join(all, " and "), nil
}

var placeholder = regexp.MustCompile(`\$+\{[^}]*\}`)

// placeholdersOf returns the placeholders of a manifest, as written there and as seconds writes
// them.
func placeholdersOf(src string) []string {
	found := placeholder.FindAllString(src, -1)
	for _, p := range slices.Clone(found) {
		found = append(found, strings.TrimSuffix(seconds(p), "s"))
	}
	return found
}

// lint returns an error if a manifest would reach a node changed.
func (m *migration) lint() error {
	for _, f := range m.files {
		content := contentOf(f.entry)
		if !m.hasPod(f.job, content) {
			continue
		}
		for _, in := range f.job.inner {
			if in.at != content {
				continue
			}
			sortEdits(in.edits)
			result, err := apply(in.src, in.edits)
			if err != nil {
				return err
			}
			result = reveal(result)
			if f.job.templated {
				result = strings.NewReplacer("{{", "", "}}", "").Replace(result) // rendered before it reaches the node
			}
			if err := manifest.Lint(str(get(f.entry, "path")), result, placeholdersOf(reveal(in.src))...); err != nil {
				return f.job.refuse(content, "the file would reach a node changed: "+err.Error(), "correct it by hand, and migrate again")
			}
		}
	}
	return nil
}

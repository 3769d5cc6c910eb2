package migrate

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A command on the node may change kube-vip's manifest after the manifest was written there. Such a
// command has to find vipd's manifest, and has to find in it what it changes: otherwise the change
// would be lost without a word, and vipd would start with a placeholder, or not at all.

// replaced is a manifest of kube-vip that was replaced.
type replaced struct {
	// path is where it was on the node, and renamed where vipd's is; "" for a DaemonSet that is no
	// file of a node. assumed tells that the path is the usual one, because nothing tells it.
	path, renamed string
	assumed       bool
	// before and after are the manifests.
	before, after string
	// owner is the object for whose nodes alone it is, nil for others.
	owner *yaml.Node
	// variable tells that it was the value of a variable, so that its path is in a class.
	variable bool
}

// references returns how a text refers to the manifest other than by its whole path: by a relative
// name, with a variable, or with a pattern that vipd.yaml does not match.
func (w replaced) references(text string) (out []string) {
	base := path.Base(w.path)
	if !strings.Contains(text, base) && !strings.ContainsAny(text, "*?[$") {
		return nil
	}
	for _, name := range wordOf.FindAllString(text, -1) {
		name = strings.TrimRight(name, ".,:")
		last := path.Base(name)
		pattern := expansions.ReplaceAllString(last, "*")
		switch {
		case strings.Contains(name, "://") || name == w.path:
		case pattern != last && strings.Trim(pattern, "*") != "":
			if matches(pattern, base) && w.within(path.Dir(name)) {
				out = append(out, name) // it may be vipd's or another one
			}
		case strings.ContainsAny(last, "*?["):
			if matches(last, base) && !matches(last, path.Base(vipdPath)) && w.within(path.Dir(name)) {
				out = append(out, name)
			}
		case last == base && (!strings.HasPrefix(name, "/") || strings.Contains(name, "$")):
			out = append(out, name)
		}
	}
	return out
}

// expansions matches variables of the shell.
var expansions = regexp.MustCompile(`\$(?:\w+|\{[^}]*\})`)

// within tells whether a folder, perhaps in a variable or with a pattern, may be that of the manifest.
func (w replaced) within(dir string) bool {
	return dir == "." || strings.Contains(dir, "$") || matches(dir, path.Dir(w.path))
}

func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

// touched tells whether a text refers to the manifest in any way, also by its folder.
func (w replaced) touched(text string) bool {
	if w.path == "" || !strings.Contains(text, path.Dir(w.path)) && !strings.Contains(text, path.Base(w.path)) && !strings.ContainsAny(text, "*?[") {
		return false
	}
	if len(mentioned(text, []string{w.path, w.renamed, path.Dir(w.path)})) > 0 || len(w.references(text)) > 0 {
		return true
	}
	return slices.ContainsFunc(wordOf.FindAllString(text, -1), func(name string) bool {
		return strings.ContainsAny(name, "*?[") && (matches(name, w.path) || matches(name, w.renamed) || matches(path.Dir(name), path.Dir(w.path)))
	})
}

// wordOf matches what may be the name of a file in a command.
var wordOf = regexp.MustCompile("[^\\s\"'`=;|&<>(),:]+(?:://\\S+)?")

// keepsPath returns how a command refers to the manifest if that cannot be changed, and the line in
// this file, 0 for another file.
func (m *migration) keepsPath(name string, owner *yaml.Node) (how string, line int) {
	w := replaced{path: name}
	for _, t := range m.texts {
		if !m.sameNodes(t.n, owner) || len(w.references(str(t.n))) == 0 {
			continue
		}
		if found := w.references(withoutComments(str(t.n))); len(found) > 0 {
			return found[0], t.line(lineOf(str(t.n), found[0]))
		}
	}
	for _, other := range m.options.texts {
		if found := w.references(withoutComments(other)); len(found) > 0 {
			return found[0], 0
		}
	}
	return "", 0
}

func withoutComments(text string) string { return commentLine.ReplaceAllString(text, "") }

// all are the replaced manifests of this file and of the others.
func (m *migration) all() []replaced { return append(slices.Clip(m.manifests), m.options.elsewhere...) }

// checkCommands refuses commands whose changes of kube-vip's manifest would be lost, or would hit
// what is not meant, and those that wait for kube-vip.
func (m *migration) checkCommands() error {
	for _, t := range m.texts {
		if m.gone[t.n] {
			continue
		}
		m.noteKept(t)
		text := expanded(str(t.n))
		if err := m.waits(t, text); err != nil {
			return err
		}
		for _, w := range m.all() {
			if !m.sameNodes(t.n, w.owner) || !w.touched(text) {
				continue
			}
			if at := interpreter.FindString(text); at != "" && len(mentioned(text, []string{w.path, w.renamed}))+len(w.references(text)) > 0 {
				return &Refusal{Line: t.line(max(1, lineOf(text, strings.TrimSpace(at)))), Reason: "a program changes kube-vip's manifest by its structure, which vipd's manifest does not have: " + strings.TrimSpace(at), Way: byHand}
			}
			for _, s := range statements(strings.ReplaceAll(text, "\\\n", " ")) {
				r := w.lost(s, text)
				if r == nil {
					r = w.lostName(s)
				}
				if r != nil {
					r.Line = t.line(max(1, lineOf(text, beginning(s))))
					return r
				}
			}
		}
	}
	return nil
}

// noteKept notes a text that refers to a manifest in another file which keeps its name.
func (m *migration) noteKept(t foundText) {
	for _, w := range m.options.elsewhere {
		if w.path != "" && w.path == w.renamed && !w.variable && len(mentioned(str(t.n), []string{w.path}))+len(w.references(str(t.n))) > 0 {
			m.kept = true
			m.note(t.line(1), "this refers to kube-vip's manifest, which keeps its name "+w.path+", and was not changed")
			return
		}
	}
}

// interpreter matches the start of a program that is not read here.
var interpreter = regexp.MustCompile(`(?m)^#!.*\b(?:python[0-9.]*|perl|ruby|awk|node)\b.*|\b(?:python[0-9.]*|ruby)\s+-[^\n]*`)

// beginning returns the beginning of a statement, to find its line.
func beginning(statement string) string {
	if n := strings.IndexAny(statement, "\n\\"); n > 0 {
		statement = statement[:n]
	}
	statement, _, _ = strings.Cut(statement, "  ") // a line break was there
	return statement
}

// loop is the condition of a loop, and waiting another program that waits.
var (
	loop    = regexp.MustCompile(`(?:^|[;\s])(?:until|while)\s([^;\n]*)`)
	waiting = regexp.MustCompile(`kubectl\s[^;\n]*\b(?:wait|rollout\s+status)\b[^;\n]*`)
	// needing is a command that ends a script if something is not there.
	needing = regexp.MustCompile(`[^;\n]*\|\|\s*\{?\s*(?:exit|return|false)\b`)
)

// waits refuses a command that waits for kube-vip itself, and so would wait for ever.
func (m *migration) waits(t foundText, text string) error {
	if len(m.all()) == 0 {
		return nil
	}
	for _, found := range slices.Concat(loop.FindAllString(text, -1), waiting.FindAllString(text, -1), needing.FindAllString(text, -1)) {
		rest := found
		for _, w := range m.all() {
			rest = strings.ReplaceAll(rest, w.path, "")
		}
		if kubeVipName.MatchString(rest) && !accessory.MatchString(rest) && !strings.Contains(rest, "kube-vip.yaml") {
			return &Refusal{Line: t.line(max(1, lineOf(text, strings.TrimSpace(found)))), Reason: "this command waits for kube-vip, or ends without it, and kube-vip does not run any more: " + shorten(strings.TrimSpace(found)),
				Way: "let it wait for vipd, or remove it, and migrate again"}
		}
	}
	return nil
}

// editor matches a program that may change a file, and writesFile what it does so with.
var (
	editor     = regexp.MustCompile(`(?:^|[\s/("'])(sed|yq|jq|perl|g?awk|python3?|ruby|ed|ex|kustomize|patch|kubectl)\s`)
	writesFile = regexp.MustCompile(`>|\s(?:--in-?place|-[a-zA-Z]*i)|\bsponge\b`)
)

// lost returns a refusal if a statement of a text changes the manifest in a way that vipd's manifest
// does not allow for, without a line.
func (w replaced) lost(statement, text string) *Refusal {
	at := editor.FindStringSubmatchIndex(statement)
	if at == nil {
		return nil
	}
	program, rest := statement[at[2]:at[3]], statement[at[2]:]
	words := strings.Fields(rest)
	last := words[len(words)-1]
	if !w.touched(statement) && strings.HasPrefix(last, "/") {
		return nil // another file
	}
	if program == "kubectl" && !strings.Contains(rest, "kustomize") && !strings.Contains(rest, "--local") {
		return nil // it asks the API server
	}
	if program == "sed" {
		return w.lostBySed(rest)
	}
	if setsAdminBySelection(rest) || !writesFile.MatchString(rest) && !slices.Contains([]string{"ed", "ex", "patch", "python", "python3", "ruby"}, program) {
		return nil
	}
	if !w.touched(statement) && !fileInVariable.MatchString(last) || w.writesElsewhere(rest, text) {
		return nil
	}
	return &Refusal{Reason: fmt.Sprintf("a command changes kube-vip's manifest by its structure (%s), which vipd's manifest does not have: %s", program, shorten(statement)),
		Way: byHand}
}

// fileInVariable matches a word that may stand for the manifest.
var fileInVariable = regexp.MustCompile(`^["']?\$|^\{\}`)

// output is where a statement writes to.
var output = regexp.MustCompile(`[^>=]>\s*["']?([^\s"'>&]+)["']?\s*$`)

// writesElsewhere tells whether the output of a statement goes to another file, which a text does not
// use any more: the statement only reads the manifest.
func (w replaced) writesElsewhere(statement, text string) bool {
	to := output.FindStringSubmatch(statement)
	return to != nil && !w.touched(to[1]) && !strings.HasSuffix(path.Dir(to[1]), "manifests") && !strings.Contains(to[1], "$") && strings.Count(text, to[1]) == 1
}

const byHand = "write into the manifest what the command sets (the image: --image), remove the command, and migrate again; vipd needs neither admin.conf nor the name kubernetes"

// needless matches the lines of kube-vip's manifest for which vipd's needs nothing.
var needless = regexp.MustCompile(`admin\.conf|hostAliases|hostnames|127\.0\.0\.1|kube-?vip\.hosts|etc-?hosts|/etc/hosts|- kubernetes\s*$`)

// lostMatch returns a refusal, without a line, if what a pattern matches in kube-vip's manifest is not
// in vipd's.
func (w replaced) lostMatch(re *regexp.Regexp, who string) *Refusal {
	lost := len(matching(re, w.after)) == 0 && slices.ContainsFunc(matching(re, w.before), func(line string) bool { return !needless.MatchString(line) })
	if !lost {
		return nil
	}
	return &Refusal{Reason: fmt.Sprintf("%s changes %q in kube-vip's manifest, which is not in vipd's, so that the change would be lost", who, re), Way: byHand}
}

// lostName returns a refusal, without a line, if a statement about the manifest names a variable of
// kube-vip's pod that vipd's does not have.
func (w replaced) lostName(statement string) *Refusal {
	if !w.touched(statement) {
		return nil
	}
	for _, name := range variableName.FindAllStringSubmatch(w.before, -1) {
		if at := regexp.MustCompile(`\b` + name[1] + `\b`); at.MatchString(statement) && !at.MatchString(w.after) {
			return &Refusal{Reason: fmt.Sprintf("a command looks for %s in kube-vip's manifest, which is not in vipd's: %s", name[1], shorten(statement)),
				Way: "remove the command, or let it look for what vipd's manifest has, and migrate again"}
		}
	}
	return nil
}

// variableName matches the name of one of kube-vip's variables.
var variableName = regexp.MustCompile(`name: ["']?(\w+_\w+)`)

// lostBySed does that for sed: each pattern that is in kube-vip's manifest has to be in vipd's.
func (w replaced) lostBySed(statement string) *Refusal {
	if !writesFile.MatchString(statement) {
		return nil
	}
	ops, ok := sedOps(statement)
	if !ok {
		return nil // not known; the result is to be checked, as the note says
	}
	for _, op := range ops {
		for _, re := range op.patterns {
			if op.structural && slices.ContainsFunc(matching(re, w.after), func(line string) bool { return !commentLine.MatchString(line) }) {
				return &Refusal{Reason: fmt.Sprintf("a command deletes or inserts lines of kube-vip's manifest at %q, which is in vipd's manifest as well: %s", re, shorten(statement)), Way: byHand}
			}
			if r := w.lostMatch(re, "a command"); r != nil {
				r.Reason += ": " + shorten(statement)
				return r
			}
			if len(matching(re, w.before)) > 0 && len(matching(re, w.after)) == 0 {
				break // what vipd does not need, whatever else the operation matches
			}
		}
		if r := w.misplaced(op); r != nil {
			r.Reason += ": " + shorten(statement)
			return r
		}
		if op.numbered {
			return &Refusal{Reason: "a command changes lines of kube-vip's manifest by their numbers: " + shorten(statement), Way: byHand}
		}
	}
	return nil
}

// hitsOther returns a line of vipd's manifest that a pattern matches although it was meant for another
// one of kube-vip's, such as VIP in VIPD_KUBECONFIG; "" for none.
func (w replaced) hitsOther(re *regexp.Regexp) string {
	meant := make(map[string]bool)
	for _, line := range matching(re, w.before) {
		for _, pair := range pairsOf(line) {
			if re.MatchString(pair) {
				meant[keyOf(pair)] = true
			}
		}
	}
	for _, line := range matching(re, w.after) {
		if !commentLine.MatchString(line) && !meant[keyOf(line)] {
			return strings.Trim(line, " -")
		}
	}
	return ""
}

// pairsOf returns the line itself, or each "key: value" of a mapping that is written in one line.
func pairsOf(line string) []string {
	inside := strings.Trim(line, " -")
	if !strings.HasPrefix(inside, "{") {
		return []string{line}
	}
	return strings.Split(strings.Trim(inside, "{}"), ",")
}

// keyOf returns the key of a line.
func keyOf(line string) string {
	key, _, _ := strings.Cut(strings.TrimLeft(line, " -"), ":")
	return key
}

const otherPlaceholder = "let it be something longer that nothing else contains, such as __VIP__ in place of VIP, and migrate again"

// misplaced returns a refusal, without a line, if an operation of sed would write kube-vip's image
// into vipd's manifest, or a line with the indentation of kube-vip's.
func (w replaced) misplaced(op sedOp) *Refusal {
	if op.match == nil || len(matching(op.match, w.after)) == 0 {
		return nil
	}
	if len(op.patterns) == 1 && op.patterns[0] == op.match { // no address says in which lines
		if line := w.hitsOther(op.match); line != "" {
			return &Refusal{Reason: fmt.Sprintf("a command changes %q, and that is also in %q of vipd's manifest", op.match, line), Way: otherPlaceholder}
		}
	}
	if kubeVipName.MatchString(op.replacement) {
		return &Refusal{Reason: "a command would write kube-vip into vipd's manifest", Way: byHand}
	}
	lines := op.match
	for _, re := range op.patterns {
		if re != op.match {
			lines = re // what the addresses match, or what follows that
		}
	}
	whole := slices.ContainsFunc(matching(op.match, w.after), func(line string) bool {
		at := op.match.FindStringIndex(line)
		return at[0] == 0 && at[1] > indentOf(line) && indentOf(line) > 0
	})
	if !whole || strings.HasPrefix(op.replacement, "\\") || strings.HasPrefix(op.replacement, "&") || w.sameIndent(lines) {
		return nil
	}
	return &Refusal{Reason: fmt.Sprintf("a command writes whole lines, whose indentation is another one in vipd's manifest (%q)", op.replacement), Way: byHand}
}

func indentOf(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// sameIndent tells whether the lines that match have the same indentation in both manifests.
func (w replaced) sameIndent(re *regexp.Regexp) bool {
	indents := func(text string) (out []int) {
		for _, line := range matching(re, text) {
			if n := indentOf(line); !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
		slices.Sort(out)
		return out
	}
	return slices.Equal(indents(w.before), indents(w.after))
}

// matching returns the lines that match.
func matching(re *regexp.Regexp, text string) (out []string) {
	for line := range strings.SplitSeq(text, "\n") {
		if re.MatchString(line) {
			out = append(out, line)
		}
	}
	return out
}

// checkPlaceholders refuses a manifest in a file of the node with a placeholder that nothing
// replaces: vipd would never start with it.
func (m *migration) checkPlaceholders() error {
	for _, p := range m.unfilled {
		if m.replacesIn(p) {
			continue
		}
		return &Refusal{Line: p.line, Reason: fmt.Sprintf("%s=%s is a placeholder, and no command here replaces it in %s, so that vipd could not start", p.name, p.value, p.manifest.path),
			Way: "write the value; or pass the file with the command that replaces it to the same `vipd manifest migrate`"}
	}
	return nil
}

// checkWords refuses a placeholder that is also in the names of vipd's settings: whatever replaces it in
// a manifest of its own would change these.
func (r *reader) checkWords(before, after string) error {
	for _, v := range r.env {
		if resolved, _ := resolve(v.value); v.known.Setting == "" || !isPlaceholder(v.known.Setting, resolved) {
			continue
		}
		if line := (replaced{before: before, after: after}).hitsOther(regexp.MustCompile(regexp.QuoteMeta(v.value))); line != "" {
			return r.refuse(v.node, fmt.Sprintf("%s=%s is a placeholder, and it is also in %q of vipd's manifest, which what replaces it would change as well", v.name, v.value, line), otherPlaceholder)
		}
	}
	return nil
}

// foundPlaceholder is a setting whose value a command on the node replaces.
type foundPlaceholder struct {
	name, value string
	line        int
	manifest    replaced
}

// replacesIn tells whether a command may replace the placeholder: it changes the manifest, or names
// the placeholder, and perhaps the manifest by a variable.
func (m *migration) replacesIn(p foundPlaceholder) bool {
	texts := slices.Clone(m.options.beside)
	for _, t := range m.texts {
		if !m.gone[t.n] && m.sameNodes(t.n, p.manifest.owner) {
			texts = append(texts, str(t.n))
		}
	}
	if slices.ContainsFunc(m.inPlace, func(e foundEntry) bool { return p.manifest.touched(fileOf(e.n)) }) {
		return true
	}
	return slices.ContainsFunc(texts, func(text string) bool {
		text = expanded(withoutComments(text))
		changes := editor.MatchString(text) || strings.Contains(text, "envsubst")
		return changes && (p.manifest.touched(text) || strings.Contains(text, strings.TrimLeft(p.value, "$")) && strings.Contains(text, "$"))
	})
}

// expanded replaces variables that a text gives a literal value, once.
func expanded(text string) string {
	values, times := make(map[string]string), make(map[string]int)
	for _, a := range literal.FindAllStringSubmatch(text, -1) {
		values[a[1]] = a[2] + a[3] + a[4]
		times[a[1]]++
	}
	for name, value := range values {
		if times[name] == 1 && value != "" {
			text = regexp.MustCompile(`\$(?:`+name+`\b|\{`+name+`\})`).ReplaceAllLiteralString(text, value)
		}
	}
	return text
}

// literal is an assignment of a path.
var literal = regexp.MustCompile(`(?m)(?:^|[;\s])(\w+)=(?:"(/[\w./-]+)"|'(/[\w./-]+)'|(/[\w./-]+))(?:$|[;\s])`)

// toReplace matches names that a command on the node replaces, such as control_plane_endpoint_ip,
// __VIP__, $VIP: no host, port or interface has such a name.
var toReplace = regexp.MustCompile(`^[a-z]+(?:_[a-z]+){2,}$|\$\w+|__\w+__|@[A-Za-z]\w*@|%[A-Za-z]\w*%|<[A-Za-z][\w -]*>|^[A-Z][A-Z0-9]*(?:[_-][A-Z0-9]+)+$`)

// capitals is a word that may be the name of an interface, and that is no address.
var capitals = regexp.MustCompile(`^[A-Z]{2,}$`)

// isPlaceholder tells whether the value of a setting is one that a command on the node replaces.
func isPlaceholder(setting, value string) bool {
	return toReplace.MatchString(value) || setting == "address" && capitals.MatchString(value)
}

// isTemplated tells whether a file keeps a name that only its template knows.
func isTemplated(name string) bool {
	return placeholder.MatchString(name) || jinjaSign.MatchString(name)
}

// twice refuses two entries with one path.
func (m *migration) twice(f *foundFile, name string) error {
	for _, other := range m.files {
		if other.entry != f.entry && other.list.seq == f.list.seq && other.list.item == other.entry && path.Clean(str(get(other.entry, "path"))) == path.Clean(name) {
			return f.job.refuse(f.entry, "two entries have the path "+name+": Cluster API accepts a path once, and elsewhere only the last one counts", "keep one of them, and migrate again")
		}
	}
	return nil
}

// place refuses a path with which it is not known where the manifest is on the node.
func (r *reader) place() error {
	name := r.pod.file
	switch {
	case name == "" || isTemplated(name) && !strings.HasPrefix(name, "/"):
		return nil
	case !strings.HasPrefix(name, "/"):
		return r.refuse(r.pod.n, "the path of this manifest is relative ("+name+"), so it is not known where it is on the node", "write the whole path, such as "+kubeVipPath+", and migrate again")
	case strings.Contains(placeholder.ReplaceAllString(name, ""), ":"):
		return r.refuse(r.pod.n, "the path of this manifest has a colon ("+name+"), and a pod cannot mount such a folder", "write a path without a colon, such as "+kubeVipPath+", and migrate again")
	}
	return nil
}

// mountable returns why a path of the node cannot be mounted into a pod, "" if it can.
func mountable(p string) string {
	resolved, known := resolve(p)
	switch {
	case !known:
		return ""
	case !strings.HasPrefix(resolved, "/"):
		return p + " is not a whole path"
	case strings.Contains(resolved, ":") || slices.Contains(strings.Split(resolved, "/"), ".."):
		return p + " has a colon or .. in it, which kubelet refuses for a path of a pod"
	}
	return ""
}

// keepalived is a line that configures keepalived, unless it removes that, and vrrp the addresses that
// it holds.
var (
	removesIt  = regexp.MustCompile(`(?i)\b(?:stop|disable|mask|purge|remove|erase|uninstall|rm)\b.*keepalived`)
	keepalived = regexp.MustCompile(`(?i)keepalived|vrrp_instance`)
	vrrp       = regexp.MustCompile(`(?s)virtual_ipaddress(?:_excluded)?\s*\{([^}]*)\}|KEEPALIVED_VIRTUAL_IPS([^\n]*\n?[^\n]*)`)
)

// keepalivedAt returns the first line that is about keepalived and in no copy, 0 for none.
func keepalivedAt(src string, copies map[int]bool) int {
	for i, line := range strings.Split(src, "\n") {
		if keepalived.MatchString(line) && !removesIt.MatchString(line) && !copies[i+1] {
			return i + 1
		}
	}
	return 0
}

// checkKeepalived refuses a keepalived that holds the same address, and warns of one whose address is
// not known.
func (m *migration) checkKeepalived(j *job) error {
	src := withoutComments(reveal(j.src))
	at := keepalivedAt(src, j.copies())
	if at == 0 || len(m.addresses) == 0 {
		return nil
	}
	const way = "remove keepalived's package, files, manifests and commands, and stop keepalived on each node before vipd starts there"
	held := vrrp.FindAllStringSubmatchIndex(src, -1)
	for _, h := range held {
		if slices.ContainsFunc(m.addresses, func(a string) bool { return len(mentioned(src[h[0]:h[1]], []string{a})) > 0 }) {
			return &Refusal{Line: lineAt(src, h[0]), Reason: "keepalived holds the same address here: keepalived does not know vipd's Lease, so two nodes would answer", Way: way + "; then migrate again"}
		}
	}
	if len(held) > 0 {
		m.note(at, "keepalived is here as well, for other addresses, and was left as it is")
		return nil
	}
	m.notes = append(m.notes, Note{Line: at, Loss: true, Text: "keepalived is here as well: if it holds " + strings.Join(m.addresses, " or ") + ", two nodes would answer: " + way})
	return nil
}

// keep remembers a replaced manifest, and its settings that a command on the node replaces.
func (m *migration) keep(p foundPod, r *reader, before, after string) {
	w := replaced{path: p.file, before: before, after: after, variable: p.variable, owner: m.owner[p.n]}
	if w.path == "" && !r.daemonSet {
		w.path, w.assumed = kubeVipPath, true
	}
	w.renamed = w.path
	m.manifests = append(m.manifests, w)
	m.addresses = append(m.addresses, r.out.Address)
	if p.variable || p.file == "" {
		return
	}
	for _, v := range r.env {
		if resolved, _ := resolve(v.value); v.known.Setting != "" && isPlaceholder(v.known.Setting, resolved) {
			m.unfilled = append(m.unfilled, foundPlaceholder{name: v.name, value: v.value, line: r.line(v.node), manifest: replaced{path: p.file, renamed: inVipd(p.file), owner: m.owner[p.n]}})
		}
	}
}

package migrate

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// A command may write the manifest on the node: from a template that is a replaced manifest, which
// goes on working, or from elsewhere, which would bring kube-vip back.

// intoFile matches where a statement or a pipe writes to, beyond its end for >>.
var intoFile = regexp.MustCompile(`(>>?|\btee\b((?:\s+-\S+)*))\s*["']?([^\s"'>&|;]+)["']?`)

// fromManifest tells whether a text that writes a manifest reads only replaced ones for that.
func (m *migration) fromManifest(text string) bool {
	for _, to := range intoFile.FindAllStringSubmatch(text, -1) {
		if to[1] == ">>" || strings.Contains(to[2], "a") {
			return false
		}
	}
	return !strings.Contains(text, "<<") && m.reads(text)
}

// reads tells whether a text refers to a replaced manifest, or to vipd's, other than to write it.
func (m *migration) reads(text string) bool {
	text = intoFile.ReplaceAllString(text, "")
	if len(m.vipdFiles) > 0 && len(mentioned(text, m.vipdFiles)) > 0 {
		return true
	}
	return slices.ContainsFunc(m.all(), func(w replaced) bool {
		return w.path != "" && !w.assumed && len(mentioned(text, []string{w.path}))+len(w.references(text)) > 0
	})
}

// checkPuts refuses a command that puts another file in the place of a replaced manifest.
func (m *migration) checkPuts() error {
	var all []string
	for _, t := range m.texts {
		all = append(all, statements(expanded(withoutComments(str(t.n))))...)
	}
	for _, t := range m.texts {
		text := expanded(withoutComments(str(t.n)))
		for _, w := range m.all() {
			if m.gone[t.n] || w.path == "" || w.assumed || !m.sameNodes(t.n, w.owner) || len(mentioned(text, []string{w.path})) == 0 {
				continue
			}
			for _, s := range statements(text) {
				from := putFrom(s, w.path)
				known := slices.ContainsFunc(all, func(other string) bool { return other != s && strings.Contains(other, from) && m.reads(other) })
				if from == "" || strings.Contains(from, "vipd") || m.reads(from) || known {
					continue
				}
				return &Refusal{Line: t.line(max(1, lineOf(str(t.n), beginning(s)))), Reason: "a command puts another file in the place of the manifest, which would then not be vipd's: " + shorten(s),
					Way: "remove the command; or migrate that file as well, and pass both to the same `vipd manifest migrate`"}
			}
		}
	}
	return nil
}

// putFrom returns from where a statement writes a file, "" if it does not, or from where is not known.
func putFrom(statement, file string) string {
	words := shellWords(statement)
	for len(words) > 0 && (words[0] == "sudo" || assigns.MatchString(words[0])) {
		words = words[1:]
	}
	if len(words) < 2 {
		return ""
	}
	last, from := words[len(words)-1], words[len(words)-2]
	switch path.Base(words[0]) {
	case "cp", "mv", "install", "ln", "scp", "rsync":
		if last != file || strings.Contains(from, "\x00") {
			return ""
		}
		return from
	case "curl", "wget":
		others := slices.DeleteFunc(slices.Clone(words), func(w string) bool { return w == file || strings.HasSuffix(w, "="+file) })
		if len(others) == len(words) {
			return ""
		}
		return strings.Join(others, " ")
	}
	return ""
}

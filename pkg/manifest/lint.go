package manifest

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// MaxContent is how many characters Cluster API takes in one file of a
// KubeadmConfig (bootstrap/kubeadm api, File.content).
const MaxContent = 10240

// jinja are the pairs that cloud-init takes for Jinja: the user data that Cluster
// API makes is a template of it.
var jinja = []string{"{{", "{%", "{#"}

// substitution is what clusterctl puts a value in for; $$ keeps it from that.
var substitution = regexp.MustCompile(`\$+\{[^}]*\}`)

// Lint says what in the content of a file would not arrive on a node as it is:
// one error a line. The placeholders that are meant to be substituted are given.
func Lint(path, content string, placeholders ...string) error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(path+": "+format, args...)) }
	if n := utf8.RuneCountInString(content); n > MaxContent {
		fail("%d characters, and Cluster API takes %d in a file", n, MaxContent)
	}
	for i, line := range strings.Split(content, "\n") {
		for _, pair := range jinja {
			if strings.Contains(line, pair) {
				fail("line %d has %q, which cloud-init takes for Jinja", i+1, pair)
			}
		}
		for _, found := range substitution.FindAllString(line, -1) {
			name := found[strings.LastIndex(found, "${"):]
			if strings.Index(found, "{")%2 == 1 && !allowed(name, placeholders) {
				fail("line %d has %s, which clusterctl would put something else in for: write $%s", i+1, name, name)
			}
		}
	}
	return errors.Join(errs...)
}

func allowed(found string, placeholders []string) bool {
	for _, p := range placeholders {
		if strings.Contains(p, found) {
			return true
		}
	}
	return false
}

package manifest

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// MaxContent is how many characters Cluster API accepts in one file of a KubeadmConfig
// (bootstrap/kubeadm api, File.content).
const MaxContent = 10240

// jinja are the pairs of characters that cloud-init takes for Jinja: Cluster API's user data is a
// template.
var jinja = []string{"{{", "{%", "{#"}

// substitution matches what clusterctl substitutes; $$ escapes it.
var substitution = regexp.MustCompile(`\$+\{[^}]*\}`)

// Lint returns an error for each part of the content of a file that would reach a node changed. The
// given placeholders are meant to be substituted.
func Lint(path, content string, placeholders ...string) error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(path+": "+format, args...)) }
	if n := utf8.RuneCountInString(content); n > MaxContent {
		fail("%d characters, but Cluster API accepts %d in a file", n, MaxContent)
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
				fail("line %d has %s, which clusterctl would substitute: write $%s", i+1, name, name)
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

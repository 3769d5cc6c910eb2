package cli

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// repository is the root of the repository.
const repository = "../.."

// TestGuaranteesNameTestsThatExist: the tests named in docs/guarantees.md exist.
func TestGuaranteesNameTestsThatExist(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join(repository, "docs/guarantees.md"))
	if err != nil {
		t.Fatal(err)
	}
	var tests bytes.Buffer
	err = filepath.WalkDir(repository, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") {
			var b []byte
			b, err = os.ReadFile(path)
			tests.Write(b)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(string(doc), -1)
	if len(names) < 20 {
		t.Errorf("only %d tests are named", len(names))
	}
	for _, name := range names {
		if !strings.Contains(tests.String(), "func "+name+"(") {
			t.Errorf("docs/guarantees.md names %s, which does not exist", name)
		}
	}
}

// TestGuaranteesNameFaultsThatExist: names such as `TestChaos/a`, `/b` are faults of the lab,
// which is a separate module.
func TestGuaranteesNameFaultsThatExist(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join(repository, "docs/guarantees.md"))
	if err != nil {
		t.Fatal(err)
	}
	sources, err := filepath.Glob(filepath.Join(repository, "e2e/failover/fault_*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var faults []byte
	for _, path := range sources {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		faults = append(faults, b...)
	}
	named := regexp.MustCompile("`(?:TestChaos)?/([a-z0-9]+)`").FindAllSubmatch(doc, -1)
	if len(named) < 20 {
		t.Errorf("only %d faults are named", len(named))
	}
	for _, m := range named {
		if !bytes.Contains(faults, []byte(`"`+string(m[1])+`"`)) {
			t.Errorf("docs/guarantees.md names the fault %s, which does not exist", m[1])
		}
	}
}

// TestReadme runs the vipd commands in the README, and compares their output.
func TestReadme(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(repository, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(b, []byte("\n")); n > 150 {
		t.Errorf("the README has %d lines, 150 at most", n)
	}
	shown := regexp.MustCompile("(?s)\\$ vipd ([^\n]+)\n(.*?)```").FindAllStringSubmatch(string(b), -1)
	if len(shown) == 0 {
		t.Fatal("the README shows no command of vipd")
	}
	for _, s := range shown {
		var out bytes.Buffer
		Execute(t.Context(), strings.Fields(s[1]), &out, &out)
		if out.String() != s[2] {
			t.Errorf("vipd %s prints\n%sthe README says\n%s", s[1], out.String(), s[2])
		}
	}
}

// TestDocsWriteManifests runs each `vipd manifest` command in the documents.
func TestDocsWriteManifests(t *testing.T) {
	docs, err := filepath.Glob(filepath.Join(repository, "docs/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, path := range append(docs, filepath.Join(repository, "README.md")) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^[#$] vipd (manifest (?:pod|kcp|rbac)[^>|\n]*)`).FindAllSubmatch(b, -1) {
			args := strings.Fields(string(m[1]))
			for i := range args {
				args[i] = strings.Trim(args[i], "'")
			}
			if written(t, args...) == "" {
				t.Errorf("%s: %q writes nothing", path, m[0])
			}
			ran++
		}
	}
	if ran < 3 {
		t.Errorf("the documents show %d commands", ran)
	}
}

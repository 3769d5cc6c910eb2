package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vipd-io/vipd/internal/doctor"
	"github.com/vipd-io/vipd/internal/goldentest"
)

// pages is the folder of the doctor's pages.
const pages = repository + "/internal/doctor/pages"

// TestTroubleshootingIsFresh keeps docs/troubleshooting.md in sync with the doctor's pages.
func TestTroubleshootingIsFresh(t *testing.T) {
	goldentest.Fresh(t, filepath.Join(repository, "docs/troubleshooting.md"), troubleshooting(t))
}

// troubleshooting generates the document.
func troubleshooting(t *testing.T) string {
	t.Helper()
	running, err := os.ReadFile(filepath.Join(pages, "running.md"))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("# Troubleshooting\n\nSymptoms, the checks of `vipd doctor` that find the cause, and the most frequent cause. `vipd doctor explain D01` prints a page\n" +
		"of this document on the node.\n\n| symptom | check | most frequent cause |\n|---|---|---|\n")
	for _, s := range doctor.Symptoms {
		var links []string
		for _, id := range s.Checks {
			links = append(links, fmt.Sprintf("[%s](#%s)", id, anchor(t, id)))
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", s.Seen, strings.Join(links, " "), s.Means)
	}
	fmt.Fprintf(&b, "\n## Running the doctor\n\n%s\n", running)
	fmt.Fprintf(&b, "| exit status | |\n|---|---|\n| 0 | no problems |\n| 1 | warnings: the VIP works, but may fail under some conditions |\n"+
		"| 2 | errors: the VIP cannot work in this state |\n| %d | usage error |\n", exitAskUsage)
	for _, c := range doctor.Checks {
		fmt.Fprintf(&b, "\n%s", regexp.MustCompile(`(?m)^#`).ReplaceAllString(pageOf(t, c.ID), "##"))
	}
	return b.String()
}

// anchor returns the anchor of a check's heading on GitHub.
func anchor(t *testing.T, id string) string {
	t.Helper()
	c, err := doctor.ByID(id)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ToLower(strings.ReplaceAll(c.ID+"-"+c.Title, " ", "-"))
}

func pageOf(t *testing.T, id string) string {
	t.Helper()
	text, err := doctor.Page(id)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestPages: each check has a page, each page has a check, and pages fit a terminal of 80
// columns.
func TestPages(t *testing.T) {
	var have, want []string
	files, err := filepath.Glob(filepath.Join(pages, "D*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		have = append(have, strings.TrimSuffix(filepath.Base(f), ".md"))
	}
	for _, c := range doctor.Checks {
		want = append(want, c.ID)
	}
	if d := cmp.Diff(want, have); d != "" {
		t.Fatalf("checks (-) and pages (+):\n%s", d)
	}
	for _, id := range want {
		checkPage(t, id, pageOf(t, id))
	}
}

func checkPage(t *testing.T, id, text string) {
	t.Helper()
	var headings []string
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, line := range lines {
		if n := len(line); n > 79 {
			t.Errorf("%s:%d: %d columns", id, i-1, n)
		}
		if strings.HasPrefix(line, "|") || strings.HasPrefix(line, "<") || strings.HasPrefix(line, "```") {
			t.Errorf("%s:%d: needs a renderer: %s", id, i-1, line)
		}
		if h, ok := strings.CutPrefix(line, "## "); ok {
			headings = append(headings, h)
		}
	}
	if n := len(lines); n < 15 || n > 60 {
		t.Errorf("%s: %d lines", id, n)
	}
	if d := cmp.Diff([]string{"What it means", "Causes", "Diagnosis", "Fix"}, headings); d != "" {
		t.Errorf("%s: headings:\n%s", id, d)
	}
	if !strings.HasSuffix(text, "\n") || strings.HasSuffix(text, "\n\n") {
		t.Errorf("%s: does not end in one end of a line", id)
	}
	namesChecks(t, id, text)
}

// namesChecks: each ID in a text is the ID of a check.
func namesChecks(t *testing.T, where, text string) {
	t.Helper()
	for _, id := range regexp.MustCompile(`\bD\d\d\b`).FindAllString(text, -1) {
		if _, err := doctor.ByID(id); err != nil {
			t.Errorf("%s: %v", where, err)
		}
	}
}

func TestSymptoms(t *testing.T) {
	var named []string
	for i, s := range doctor.Symptoms {
		if s.Seen == "" || s.Means == "" || len(s.Checks) == 0 || strings.Contains(s.Seen+s.Means, "|") {
			t.Errorf("%d: %+v", i, s)
		}
		namesChecks(t, s.Seen, strings.Join(s.Checks, " ")+" "+s.Means)
		named = append(named, s.Checks...)
	}
	// What the project was begun for.
	for _, seen := range []string{"VM has an IP but cannot ping the gateway", "`ip route` shows no `default via`", "nmtui shows an empty gateway",
		"CAPV: cluster is not reachable / no route to host", "workers cannot join: VIP or its DNS name out of reach"} {
		if !slices.ContainsFunc(doctor.Symptoms, func(s doctor.Symptom) bool { return s.Seen == seen }) {
			t.Errorf("%q is missing", seen)
		}
	}
	for _, c := range doctor.Checks {
		if !slices.Contains(named, c.ID) {
			t.Errorf("no symptom leads to %s", c.ID)
		}
	}
}

// TestExplain: a page, whatever the case of its ID; without an ID, all there are.
func TestExplain(t *testing.T) {
	if got := written(t, "doctor", "explain", "d01"); got != pageOf(t, "D01") || !strings.HasPrefix(got, "# D01: default route\n\n## What it means\n") {
		t.Errorf("explain d01:\n%s", got)
	}
	got := written(t, "doctor", "explain")
	for _, c := range doctor.Checks {
		if !strings.Contains(got, "\n"+c.ID+"  ") || !strings.Contains(got, "  "+c.Title+"\n") {
			t.Errorf("%s %s is not listed:\n%s", c.ID, c.Title, got)
		}
	}
	for _, s := range doctor.Symptoms {
		if !strings.Contains(got, "  "+s.Seen+"\n") {
			t.Errorf("%q is not listed:\n%s", s.Seen, got)
		}
	}
}

func TestExplainRefuses(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"D99"}, `\Avipd: error: there is no check "D99"; there are D01, D02, .*, D\d\d\n\z`},
		{[]string{"../D01"}, `there is no check "\.\./D01"; there are D01, `},
		{[]string{""}, `there is no check ""; there are D01, `},
		{[]string{"D01", "D02"}, `\Avipd: error: explain takes the ID of one check, such as D01\n\z`},
		{[]string{"--frobnicate"}, `\Avipd: error: unknown flag: --frobnicate\n\z`},
	} {
		var stdout, stderr bytes.Buffer
		status := Execute(t.Context(), append([]string{"doctor", "explain"}, tc.args...), &stdout, &stderr)
		if status != exitAskUsage || stdout.Len() > 0 || !regexp.MustCompile(tc.want).MatchString(stderr.String()) {
			t.Errorf("explain %q: status %d, want %d\nstdout: %s\nstderr: %s", tc.args, status, exitAskUsage, stdout.String(), stderr.String())
		}
	}
}

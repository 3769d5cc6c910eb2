package migrate

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// FuzzMigrate: any file is either refused without a result, or the result is valid.
func FuzzMigrate(f *testing.F) {
	for _, pattern := range []string{"*.yaml", "refused/*.*"} {
		for _, src := range inputs(f, pattern) {
			f.Add(src)
			f.Add(strings.ReplaceAll(src, "\n", "\r\n"))
		}
	}
	f.Fuzz(func(t *testing.T, src string) { either(t, src) })
}

// FuzzHide: a text with hidden placeholders has the same lines and columns, and becomes the text
// again.
func FuzzHide(f *testing.F) {
	for _, s := range []string{"", "${A}", `a: "${B:="c"}"`, "[$${A:=${B}}, {{ .c }}]", "${a\n}", "{{ é }} ${ü}", "\U000f0041", "${\\}", "{{}}}", "a:\n${B}\n- c", "  ${A}\r\n", "#${A}"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, s string, quoted bool) {
		if !utf8.ValidString(s) {
			return
		}
		for _, h := range []string{hide(s, quoted), hideLines(s, quoted)} {
			hides(t, s, h)
		}
	})
}

func hides(t *testing.T, s, h string) {
	t.Helper()
	if !strings.ContainsFunc(s, isHidden) && reveal(h) != s {
		t.Fatalf("%q became %q", s, reveal(h))
	}
	if utf8.RuneCountInString(h) != utf8.RuneCountInString(s) || strings.Count(h, "\n") != strings.Count(s, "\n") {
		t.Fatalf("%q became %q, of another length", s, h)
	}
}

func either(t *testing.T, src string) {
	t.Helper()
	r, err := Migrate(src, options)
	if err == nil {
		holds(t, src, r)
		return
	}
	if r.Out != "" || r.Changed() || len(r.Notes) > 0 {
		t.Fatalf("%v, and yet a result: %+v", err, r)
	}
	var refusal *Refusal
	if errors.As(err, &refusal) && (refusal.Reason == "" || refusal.Way == "") {
		t.Fatalf("refused without a reason or a way: %+v", refusal)
	}
}

// TestMutated: the files of testdata with lines removed, added, moved and indented, as people do.
func TestMutated(t *testing.T) {
	var all []string
	for _, src := range inputs(t, "*.yaml") {
		all = append(all, src)
	}
	slices.Sort(all)
	extra := []string{"# a comment", "", "    ", "- kube-vip", "x: |", "  y: \"a\n\n b\"", "z: 'it''s'", "\t", "é: ü # ö", "a: &x [1, {b: c}]", "b: *x", "--- # next", "...", "? k\n: v", "w: >-\n  folded\n    more\n", "- - a", "k: [${A}]", "v: {{ .x }}", `d: ${A:="b"}`}
	rapid.Check(t, func(rt *rapid.T) {
		lines := strings.Split(rapid.SampledFrom(all).Draw(rt, "file"), "\n")
		for range rapid.IntRange(0, 4).Draw(rt, "changes") {
			i := rapid.IntRange(0, len(lines)-1).Draw(rt, "line")
			switch rapid.IntRange(0, 3).Draw(rt, "what") {
			case 0:
				lines = append(lines[:i:i], lines[min(i+1, len(lines)-1):]...)
			case 1:
				indent := lines[i][:len(lines[i])-len(strings.TrimLeft(lines[i], " "))]
				lines = slices.Insert(lines, i, strings.Split(indent+strings.ReplaceAll(rapid.SampledFrom(extra).Draw(rt, "extra"), "\n", "\n"+indent), "\n")...)
			case 2:
				lines[i] = "  " + lines[i]
			case 3:
				lines[i] += " # a comment"
			}
		}
		either(t, strings.Join(lines, rapid.SampledFrom([]string{"\n", "\n", "\r\n"}).Draw(rt, "break")))
	})
}

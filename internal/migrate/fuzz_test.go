package migrate

import (
	"errors"
	"slices"
	"strings"
	"testing"

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
	extra := []string{"# a comment", "", "    ", "- kube-vip", "x: |", "  y: \"a\n\n b\"", "z: 'it''s'", "\t", "é: ü # ö", "a: &x [1, {b: c}]", "b: *x", "--- # next", "...", "? k\n: v", "w: >-\n  folded\n    more\n", "- - a"}
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

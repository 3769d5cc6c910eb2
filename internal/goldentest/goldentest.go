// Package goldentest compares generated text with committed files.
package goldentest

import (
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files, manifests/ and docs/troubleshooting.md")

// Fresh checks that a file has the given content, or with -update writes the file.
func Fresh(t *testing.T, path, now string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(now), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(have), now); d != "" {
		t.Errorf("%s is outdated (update with: go test -run '%s' -update; -file +now):\n%s", path, t.Name(), d)
	}
}

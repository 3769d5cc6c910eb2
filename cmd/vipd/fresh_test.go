package main

import (
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write golden files, manifests/ and docs/troubleshooting.md anew")

// fresh checks that a file is what is written now, or with -update makes it so.
func fresh(t *testing.T, path, now string) {
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
		t.Errorf("%s is not what is written now (go test ./cmd/vipd -run '%s' -update; -file +now):\n%s", path, t.Name(), d)
	}
}

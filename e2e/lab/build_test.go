package lab

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFindRoot(t *testing.T) {
	root, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "e2e", "lab", "build_test.go")); err != nil {
		t.Error(err)
	}
	t.Chdir(t.TempDir())
	if root, err := findRoot(); err == nil {
		t.Errorf("found %s from outside the repository", root)
	}
}

// A build that fails says why and leaves no file behind.
func TestBuildFails(t *testing.T) {
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "broken")
	for name, text := range map[string]string{"go.mod": "module broken\n", "main.go": "package main\n\nfunc main() { undefined() }\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	err := goBuild(t.Context(), dir, out, target{name: "broken", pkg: "."}, nil)
	if err == nil || !strings.Contains(err.Error(), "main.go:3") {
		t.Errorf("error %v, want the compiler's message", err)
	}
	if left, _ := filepath.Glob(out + "*"); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestProgress(t *testing.T) {
	tests := []struct {
		name  string
		width int
		want  string
	}{
		{"log", 0, "building x (slow)\nbuilt x: 2 packages, 0s\n"},
		{"terminal", 80, "\r\033[Kbuilding x … 1 packages, 0s (slow)\r\033[Kbuilding x … 2 packages, 0s (slow)\r\033[Kbuilt x: 2 packages, 0s\n"},
		{"narrow terminal", 11, "\r\033[Kbuilding x\r\033[Kbuilding x\r\033[Kbuilt x: 2 packages, 0s\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			p := newProgress(nil, "x; slow")
			p.out, p.width = &out, tt.width
			p.Write([]byte("fmt\n"))
			p.show()
			p.Write([]byte("net/http\n"))
			p.show()
			p.done()
			if out.String() != tt.want {
				t.Errorf("shown:\n%q\nwant:\n%q", out.String(), tt.want)
			}
		})
	}
}

// Who waits for a lock can be told to give up.
func TestLock(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	err := withLock(ctx, dir, func() error {
		cancel()
		return withLock(ctx, dir, func() error { return nil })
	})
	if err == nil {
		t.Error("locked twice")
	}
	if err := withLock(t.Context(), dir, func() error { return nil }); err != nil {
		t.Error(err)
	}
}

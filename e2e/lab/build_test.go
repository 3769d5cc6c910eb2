package lab

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
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

// A failed build reports the reason and leaves no file.
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
		{"log", 0, "building x (slow)\nbuilding x … 2 packages, 0s\nbuilt x: 2 packages, 0s\n"},
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

// TestProgressOfALongBuild: without a terminal, a long build is reported each minute, and
// downloaded modules only by their number.
func TestProgressOfALongBuild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := newProgress(nil, "x; slow")
		p.out = &out
		stop := p.start()
		p.Write([]byte(strings.Repeat("go: downloading example.com/m v1.0.0\n", 60)))
		time.Sleep(70 * time.Second)
		p.Write([]byte("fmt\nnet/http\n"))
		time.Sleep(time.Minute)
		stop()
		p.done()
		want := "building x (slow)\nbuilding x … 60 modules downloaded, 1m3s\nbuilding x … 2 packages, 2m3s\nbuilt x: 2 packages, 2m10s\n"
		if out.String() != want {
			t.Errorf("shown:\n%s\nwant:\n%s", out.String(), want)
		}
	})
}

// A failed download is retried, and the last error is reported.
func TestDownloadFails(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module broken\n\nrequire example.invalid/m v1.0.0\n", "main.go": "package main\n\nfunc main() {}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	asked := make(chan struct{}, 2*downloadTries)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked <- struct{}{}
		http.Error(w, "the registry is away", http.StatusServiceUnavailable)
	}))
	defer proxy.Close()
	t.Setenv("GOPROXY", proxy.URL)
	t.Setenv("GONOSUMDB", "*")
	t.Setenv("GOFLAGS", "-mod=mod")
	err := download(t.Context(), dir, time.Millisecond, nil)
	if err == nil || !strings.Contains(err.Error(), "the registry is away") || !strings.Contains(err.Error(), "example.invalid/m") {
		t.Errorf("error %v, want the error of the registry", err)
	}
	if n := len(asked); n != downloadTries {
		t.Errorf("asked %d times, want %d", n, downloadTries)
	}
}

// Waiting for a lock can be cancelled.
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

// The owner of the lock is reported. Shared locks exclude exclusive ones only.
func TestLockBeside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := lock(t.Context(), path, unix.LOCK_SH)
	if err != nil {
		t.Fatal(err)
	}
	second, err := lock(t.Context(), path, unix.LOCK_SH)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	release, err := lock(ctx, path, unix.LOCK_EX)
	if err == nil {
		release()
		t.Error("locked beside others, and alone")
	} else if want := fmt.Sprintf("process %d (", os.Getpid()); !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
	first()
	second()
	if release, err = lock(t.Context(), path, unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	release()
}

package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestPrune: recently used items, items that a process runs from, and foreign files stay.
func TestPrune(t *testing.T) {
	cache, now := t.TempDir(), time.Now()
	day := 24 * time.Hour
	folder := func(name string, age time.Duration) string {
		dir := filepath.Join(cache, name)
		must(t, os.MkdirAll(dir, 0o755))
		must(t, os.Chtimes(dir, now.Add(-age), now.Add(-age)))
		return dir
	}
	folder("aaaaaaaaaaaa", 9*day) // in use now
	folder("bbbbbbbbbbbb", time.Hour)
	folder("cccccccccccc", 2*day)
	folder("dddddddddddd", 3*day)
	folder("eeeeeeeeeeee", 4*day) // the fifth
	folder("vipd-ffffffffffff", 8*day)
	folder("000000000000", 8*day)
	folder("somebody-else", 99*day)
	running := folder("111111111111", 9*day)
	sleep, err := exec.LookPath("sleep")
	must(t, err)
	must(t, copyFile(sleep, filepath.Join(running, "etcd"), 0o755))
	must(t, os.Chtimes(running, now.Add(-9*day), now.Add(-9*day)))
	p := exec.Command(filepath.Join(running, "etcd"), "60")
	must(t, p.Start())
	end := func() { _ = p.Process.Kill(); _ = p.Wait() }
	defer end()

	left := func() (names []string) {
		entries, err := os.ReadDir(cache)
		must(t, err)
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	must(t, prune(cache, filepath.Join(cache, "aaaaaaaaaaaa"), now))
	want := []string{"111111111111", "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc", "dddddddddddd", "somebody-else"}
	if got := left(); !slices.Equal(got, want) {
		t.Errorf("left %v, want %v", got, want)
	}
	end()
	must(t, prune(cache, filepath.Join(cache, "aaaaaaaaaaaa"), now))
	if got := left(); !slices.Equal(got, want[1:]) {
		t.Errorf("left %v when the process has ended, want %v", got, want[1:])
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupRoot is where control groups are mounted: version 2 itself, or a folder for
// each hierarchy of version 1.
const cgroupRoot = "/sys/fs/cgroup"

// MakeCgroup makes a control group for the host in each hierarchy, and returns its
// path there. What is made below it ends with the lab.
func (l *Lab) MakeCgroup(h *Host) (string, error) {
	path := filepath.Join("/", cgroupOf(l.Name), h.Name)
	all, err := hierarchies()
	if err != nil {
		return "", fmt.Errorf("make control group of %s: %w", h.Name, err)
	}
	for _, dir := range all {
		if err := os.MkdirAll(filepath.Join(dir, path), 0o755); err != nil {
			return "", fmt.Errorf("make control group of %s: %w", h.Name, err)
		}
	}
	return path, nil
}

// cgroupOf is above those of all hosts of a lab.
func cgroupOf(lab string) string { return "vipd-lab-" + lab }

// hierarchies are the roots of all of them.
func hierarchies() ([]string, error) {
	var dirs []string
	for _, pattern := range []string{"cgroup.procs", "*/cgroup.procs"} {
		files, err := filepath.Glob(filepath.Join(cgroupRoot, pattern))
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			dirs = append(dirs, filepath.Dir(f))
		}
		if len(dirs) > 0 {
			return dirs, nil
		}
	}
	return nil, fmt.Errorf("no control groups in %s", cgroupRoot)
}

// removeCgroups removes those of a lab whose processes are gone.
func removeCgroups(lab string) error {
	all, err := filepath.Glob(filepath.Join(cgroupRoot, "*", cgroupOf(lab)))
	if err != nil {
		return err
	}
	for _, dir := range append(all, filepath.Join(cgroupRoot, cgroupOf(lab))) {
		if err := removeCgroup(dir); err != nil {
			return err
		}
	}
	return nil
}

// removeCgroup removes one, with those below it first. It is busy for a moment after
// its last process was killed.
func removeCgroup(dir string) error {
	var groups []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			groups = append(groups, path)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	deadline := time.Now().Add(killTimeout)
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for _, g := range slices.Backward(groups) {
		err := unix.Rmdir(g)
		for ; errors.Is(err, unix.EBUSY) && time.Now().Before(deadline); err = unix.Rmdir(g) {
			<-ticker.C
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove control group %s: %w", g, err)
		}
	}
	return nil
}

package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupRoot is the mount point of control groups: version 2 itself, or a folder for each hierarchy
// of version 1.
const cgroupRoot = "/sys/fs/cgroup"

// MakeCgroup creates a control group for the host in each hierarchy, replacing an existing one, and
// returns its path there. Groups below it are removed with the lab.
func (l *Lab) MakeCgroup(h *Host) (string, error) {
	path := filepath.Join("/", cgroupOf(l.Name), h.Name)
	all, err := hierarchies()
	if err != nil {
		return "", fmt.Errorf("make control group of %s: %w", h.Name, err)
	}
	for _, dir := range all {
		err := removeCgroup(filepath.Join(dir, path))
		if err == nil {
			err = os.MkdirAll(filepath.Join(dir, path), 0o755)
		}
		if err != nil {
			return "", fmt.Errorf("make control group of %s: %w", h.Name, err)
		}
	}
	return path, nil
}

// cgroupOf returns the parent of the control groups of a lab's hosts.
func cgroupOf(lab string) string { return "vipd-lab-" + lab }

// hierarchies returns the roots of all hierarchies.
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

// removeCgroups removes the control groups of a lab without processes.
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

// removeCgroup removes a control group after those below it. A group is busy for a moment after its
// last process was killed.
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
			return fmt.Errorf("remove control group %s: %w; processes in it: %q", g, err, inCgroup(g))
		}
	}
	return nil
}

// inCgroup describes the processes in a control group: number, name, state (proc(5)).
func inCgroup(dir string) (out []string) {
	procs, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	for pid := range strings.FieldsSeq(string(procs)) {
		stat, _ := os.ReadFile("/proc/" + pid + "/stat") // a process may end meanwhile
		words := strings.Fields(string(stat))
		out = append(out, strings.Join(words[:min(3, len(words))], " "))
	}
	return out
}

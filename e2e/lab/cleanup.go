package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	ownerFile = "owner.json"
	keptFile  = "kept"
)

// An owner is the process that runs a lab. Its start time distinguishes it from a later process
// with the same number.
type owner struct {
	PID   int    `json:"pid"`
	Start string `json:"start"`
}

func (o owner) alive() bool {
	start, err := startTime(o.PID)
	return err == nil && start == o.Start
}

func startTime(pid int) (string, error) {
	fields, err := StatFields(pid)
	if err != nil {
		return "", err
	}
	return fields[22-3], nil // see proc(5); the first field here is its third
}

// StatFields returns the fields of /proc/PID/stat after the second, the command's name in brackets,
// which may contain spaces and brackets.
func StatFields(pid int) ([]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	stat := string(b)
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 40 {
		return nil, fmt.Errorf("read /proc/%d/stat: %d fields", pid, len(fields))
	}
	return fields, nil
}

// claim creates a lab's folder and records its owner, under the lock, so that no other process
// sweeps a folder without an owner.
func claim(ctx context.Context, dir string) error {
	return withLock(ctx, StateRoot, func() error {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		start, err := startTime(os.Getpid())
		if err != nil {
			return err
		}
		b, err := json.Marshal(owner{PID: os.Getpid(), Start: start})
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, ownerFile), b, 0o644)
	})
}

// Info describes a lab with a folder.
type Info struct {
	Name  string
	Dir   string
	Owner int  // process id
	Alive bool // whether the owner runs
	Kept  bool
}

// List returns all labs on this machine, running or left over.
func List() ([]Info, error) {
	entries, err := os.ReadDir(StateRoot)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list labs: %w", err)
	}
	var labs []Info
	for _, e := range entries {
		if !e.IsDir() || !validName.MatchString(e.Name()) {
			continue
		}
		dir := filepath.Join(StateRoot, e.Name())
		info := Info{Name: e.Name(), Dir: dir}
		var o owner
		// A folder without a readable owner has none: its process died while creating the folder,
		// or the folder is being deleted.
		if b, err := os.ReadFile(filepath.Join(dir, ownerFile)); err == nil && json.Unmarshal(b, &o) == nil {
			info.Owner, info.Alive = o.PID, o.alive()
		}
		_, err := os.Stat(filepath.Join(dir, keptFile))
		info.Kept = err == nil
		labs = append(labs, info)
	}
	return labs, nil
}

// Sweep removes what labs of dead processes left, except kept ones. Start calls it.
func Sweep(ctx context.Context) error {
	return withLock(ctx, StateRoot, func() error {
		labs, err := List()
		if err != nil {
			return err
		}
		var errs []error
		for _, l := range labs {
			if err := ctx.Err(); err != nil {
				return err
			}
			if !l.Alive && !l.Kept {
				errs = append(errs, destroy(l.Name))
			}
		}
		return errors.Join(errs...)
	})
}

// Remove ends the lab of that name, whoever runs it.
func Remove(name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("bad lab name %q", name)
	}
	if _, err := os.Stat(filepath.Join(StateRoot, name)); err != nil {
		return fmt.Errorf("remove lab %s: %w", name, err)
	}
	return destroy(name)
}

// destroy kills every process in a lab's namespaces, which ends the mounts of machines, deletes the
// namespaces and control groups, and last the folder, so that a sweep can finish an interrupted
// one.
func destroy(name string) error {
	paths, err := filepath.Glob(filepath.Join(netnsDir, namespacePrefix(name)+"*"))
	if err != nil {
		return err
	}
	if err := killInside(paths); err != nil {
		return fmt.Errorf("end processes of lab %s: %w", name, err)
	}
	if err := removeCgroups(name); err != nil {
		return fmt.Errorf("clean up after lab %s: %w", name, err)
	}
	for _, p := range paths {
		err := netns.DeleteNamed(filepath.Base(p))
		if errors.Is(err, unix.EINVAL) { // a file with nothing mounted on it
			err = os.Remove(p)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("delete network namespace %s: %w", filepath.Base(p), err)
		}
	}
	if err := os.RemoveAll(filepath.Join(StateRoot, name)); err != nil {
		return fmt.Errorf("delete folder of lab %s: %w", name, err)
	}
	return nil
}

// Left returns what is left of the lab of that name: namespaces, control groups, files and processes.
func Left(name string) (left []string, err error) {
	dir := filepath.Join(StateRoot, name)
	for _, pattern := range []string{filepath.Join(netnsDir, namespacePrefix(name)+"*"), filepath.Join(cgroupRoot, cgroupOf(name)), filepath.Join(cgroupRoot, "*", cgroupOf(name)), dir} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("look for what is left of lab %s: %w", name, err)
		}
		left = append(left, found...)
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, fmt.Errorf("look for what is left of lab %s: %w", name, err)
	}
	for _, f := range commands {
		line, err := os.ReadFile(f)
		if err == nil && bytes.Contains(line, []byte(dir+"/")) { // an error: the process has ended
			left = append(left, fmt.Sprintf("process %s: %q", filepath.Base(filepath.Dir(f)), line))
		}
	}
	return left, nil
}

// killInside kills the processes whose network namespace is mounted at one of the paths, until
// there are none: a process may just have forked.
func killInside(paths []string) error {
	inside := make(map[fileID]bool)
	for _, p := range paths {
		if id, err := idOf(p); err == nil {
			inside[id] = true
		}
	}
	deadline := time.Now().Add(killTimeout)
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		left, err := killOnce(inside)
		if err != nil || len(left) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v survive SIGKILL", left)
		}
		<-ticker.C
	}
}

// killOnce kills the processes in the given namespaces and returns them.
func killOnce(inside map[fileID]bool) ([]int, error) {
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []int
	for _, e := range procs {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		p, err := os.FindProcess(pid) // by pidfd, because numbers are reused
		if err != nil {
			continue
		}
		if id, err := idOf(fmt.Sprintf("/proc/%d/ns/net", pid)); err == nil && inside[id] {
			found = append(found, pid)
			if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return found, fmt.Errorf("kill %d: %w", pid, err)
			}
		}
		p.Release()
	}
	return found, nil
}

// A fileID identifies a namespace.
type fileID struct{ dev, ino uint64 }

func idOf(path string) (fileID, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return fileID{}, err
	}
	return fileID{st.Dev, st.Ino}, nil
}

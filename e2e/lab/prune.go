package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Limits of the cache of binaries.
const (
	// keepUnused is how long an unused item is kept.
	keepUnused = 7 * 24 * time.Hour
	// keepAtMost bounds the items that were not used today: with a kubelet, one takes 500 MB.
	keepAtMost = 4
	today      = 24 * time.Hour
)

// cached matches the names in the cache: folders by their key, and vipds. Other files are left
// alone.
var cached = regexp.MustCompile(`^(vipd-)?[0-9a-f]{12}$`)

// prune removes old items, except the folder in use. An item that a process runs from, as in a kept
// lab, stays: the lab may start it again. The caller holds the lock of the cache.
func prune(cache, inUse string, now time.Time) error {
	if err := os.Chtimes(inUse, now, now); err != nil {
		return fmt.Errorf("prune the cache of binaries: %w", err)
	}
	entries, err := os.ReadDir(cache)
	if err != nil {
		return fmt.Errorf("prune the cache of binaries: %w", err)
	}
	type item struct {
		path string
		used time.Time
	}
	var items []item
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && cached.MatchString(e.Name()) {
			items = append(items, item{filepath.Join(cache, e.Name()), info.ModTime()})
		}
	}
	slices.SortFunc(items, func(a, b item) int { return b.used.Compare(a.used) }) // the newest first
	var errs []error
	for i, it := range items {
		age := now.Sub(it.used)
		if age > keepUnused || i >= keepAtMost && age > today {
			errs = append(errs, removeUnlessRun(it.path))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("prune the cache of binaries: %w", err)
	}
	return nil
}

func removeUnlessRun(path string) error {
	run, err := isRun(path)
	if err != nil || run {
		return err
	}
	return os.RemoveAll(path)
}

// isRun tells whether a process runs the file, or a file in the folder.
func isRun(path string) (bool, error) {
	path, err := filepath.EvalSymlinks(path) // as in /proc
	if err != nil {
		return false, err
	}
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return false, err
	}
	for _, l := range links {
		exe, err := os.Readlink(l)
		switch {
		case errors.Is(err, fs.ErrNotExist): // the process has ended, or is a kernel thread
		case errors.Is(err, fs.ErrPermission): // another user's process, and no lab's
		case err != nil:
			return false, fmt.Errorf("look what runs from %s: %w", path, err)
		case exe == path || strings.HasPrefix(exe, path+"/"):
			return true, nil
		}
	}
	return false, nil
}

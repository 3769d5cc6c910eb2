package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Exclusive waits until no other process on this machine is between Exclusive or Beside and
// release. Labs do not affect each other's state, but share the processors, and concurrent
// measurements would measure each other.
func Exclusive(ctx context.Context) (release func(), err error) {
	return lock(ctx, filepath.Join(StateRoot, ".exclusive"), unix.LOCK_EX)
}

// Beside waits only until no other process is between Exclusive and release. It is for tests that
// measure no time.
func Beside(ctx context.Context) (release func(), err error) {
	return lock(ctx, filepath.Join(StateRoot, ".exclusive"), unix.LOCK_SH)
}

// withLock runs fn while no other process is inside withLock on the same folder, which is created
// if it is missing.
func withLock(ctx context.Context, dir string, fn func() error) error {
	release, err := lock(ctx, filepath.Join(dir, ".lock"), unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer release()
	return fn()
}

// lockPatience is how long to wait for a lock before the wait is reported.
const lockPatience = 10 * time.Second

// lock locks a file. The kernel unlocks it when the process dies.
func lock(ctx context.Context, path string, how int) (release func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make folder for lock: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	tell := time.NewTimer(lockPatience)
	defer tell.Stop()
	for {
		// A blocking flock could not be ended by ctx.
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if errors.Is(err, unix.EWOULDBLOCK) {
			select {
			case <-tell.C:
				fmt.Fprintf(os.Stderr, "lab: waiting for %s, which %s\n", path, lockedBy(f))
				continue
			case <-ticker.C:
				continue
			case <-ctx.Done():
				err = fmt.Errorf("%w; %s", ctx.Err(), lockedBy(f))
			}
		}
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
}

// lockedBy describes the processes that hold a lock of the file, by /proc/locks (proc(5)).
func lockedBy(f *os.File) string {
	var stat unix.Stat_t
	locks, err := os.ReadFile("/proc/locks")
	if err := errors.Join(err, unix.Fstat(int(f.Fd()), &stat)); err != nil {
		return fmt.Sprintf("some process has locked: %v", err)
	}
	id := fmt.Sprintf("%02x:%02x:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev), stat.Ino)
	var who []string
	for line := range strings.Lines(string(locks)) {
		// 1: FLOCK  ADVISORY  WRITE 708 00:13:467 0 EOF; a waiting process has "->" before FLOCK.
		if l := strings.Fields(line); len(l) > 5 && l[1] == "FLOCK" && l[5] == id {
			argv, _ := os.ReadFile("/proc/" + l[4] + "/cmdline") // the process may have ended
			command := strings.TrimSpace(strings.ReplaceAll(string(argv), "\x00", " "))
			who = append(who, fmt.Sprintf("process %s (%.80s)", l[4], command))
		}
	}
	if len(who) == 0 {
		return "another process has locked"
	}
	return strings.Join(who, " and ") + " has locked"
}

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Exclusive waits until no other process on this machine is between
// Exclusive and release. Labs do not disturb each other, but they share the
// processors, and two measurements at a time measure each other: `go test
// ./...` runs two packages at once.
func Exclusive(ctx context.Context) (release func(), err error) {
	return lock(ctx, filepath.Join(StateRoot, ".exclusive"))
}

// withLock runs fn while no other process is inside withLock on the same
// folder, which it makes if need be.
func withLock(ctx context.Context, dir string, fn func() error) error {
	release, err := lock(ctx, filepath.Join(dir, ".lock"))
	if err != nil {
		return err
	}
	defer release()
	return fn()
}

// lock locks a file. The kernel unlocks it when the process dies.
func lock(ctx context.Context, path string) (release func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make folder for lock: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		// Not a blocking flock, which ctx could not end.
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if errors.Is(err, unix.EWOULDBLOCK) {
			select {
			case <-ticker.C:
				continue
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
}

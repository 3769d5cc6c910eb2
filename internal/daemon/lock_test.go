package daemon

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"
)

// squatter is a process that owns the name of a lock until its input ends:
//
//	squatter NAME UID listen|bind
func squatter() {
	name, uid, how := os.Args[1], os.Args[2], os.Args[3]
	n := 0
	_, err := fmt.Sscan(uid, &n)
	fd, serr := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err := errors.Join(err, serr, syscall.Setuid(n), unix.Bind(fd, &unix.SockaddrUnix{Name: name})); err != nil {
		fmt.Println(err)
		return
	}
	if how == "listen" {
		if err := unix.Listen(fd, 1); err != nil {
			fmt.Println(err)
			return
		}
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// squat starts a squatter; gone ends it.
func squat(t *testing.T, name, uid, how string) (gone func()) {
	t.Helper()
	cmd := exec.Command("squatter", name, uid, how)
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	gone = func() { _ = in.Close(); _ = cmd.Wait() }
	t.Cleanup(gone)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("squatter: %q, %v", line, err)
	}
	return gone
}

// observed returns a locker for an address that only this test uses, and its log.
func observed(t *testing.T, dir string) (*locker, *observer.ObservedLogs) {
	core, logs := observer.New(zapcore.DebugLevel)
	l := newLocker(dir, netip.MustParseAddr("192.0.2.1"), zap.New(core))
	l.name += "-" + t.Name()
	return l, logs
}

const (
	twin     = lockedByVipd
	stranger = "lock name ignored: its owner is not root"
	deaf     = "lock name ignored: its owner takes no connections"
	named    = "waiting for the lock: its name is taken"
)

// TestLockIsTheVipdsOwn: only a vipd or another process of root keeps a vipd from starting, and the
// log names the process.
func TestLockIsTheVipdsOwn(t *testing.T) {
	for _, tt := range []struct {
		name, uid, how string
		passes         bool
		says           string
		fields         map[string]any
	}{
		{"a vipd", "0", "listen", false, twin, map[string]any{"uid": uint32(0), "command": "squatter"}},
		{"not root", "65534", "listen", true, stranger, map[string]any{"uid": uint32(65534), "command": "squatter"}},
		{"not root, and does not listen", "65534", "bind", true, deaf, nil},
		{"does not listen", "0", "bind", true, deaf, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // with one another: the CPU is that of all
			dir := t.TempDir()
			l, logs := observed(t, dir)
			gone := squat(t, l.name, tt.uid, tt.how)
			waits := 5 * lockPause
			if tt.passes {
				waits = time.Minute
			}
			ctx, cancel := context.WithTimeout(t.Context(), waits)
			defer cancel()
			before := cpu(t)
			unlock, err := l.lock(ctx)
			must(t, err)
			if spent := cpu(t) - before; spent > lockPause {
				t.Errorf("%s of CPU", spent)
			}
			if (unlock != nil) != tt.passes {
				t.Fatalf("locked: %t, want %t; log %v", unlock != nil, tt.passes, logs.All())
			}
			said := logs.FilterLevelExact(zapcore.WarnLevel).All()
			if len(said) != 1 || !strings.HasPrefix(said[0].Message, tt.says) {
				t.Fatalf("log = %v, want one warning, that %s", said, tt.says)
			}
			for key, want := range tt.fields {
				if d := cmp.Diff(want, said[0].ContextMap()[key]); d != "" {
					t.Errorf("%s (-want +got):\n%s", key, d)
				}
			}
			if tt.passes {
				second, _ := observed(t, dir)
				expectLocked(t, second)
				gone()
				expectLocked(t, second) // the name is free, the file is locked
				unlock()
			} else {
				gone()
			}
			expectFree(t, l)
			if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func expectLocked(t *testing.T, l *locker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*lockPause)
	defer cancel()
	if unlock, err := l.lock(ctx); unlock != nil || err != nil {
		t.Errorf("locked twice, or %v", err)
	}
}

func expectFree(t *testing.T, l *locker) {
	t.Helper()
	unlock, err := l.lock(t.Context())
	must(t, err)
	unlock()
}

// TestLockWithoutItsFolder: in a pod of an older manifest, every owner of the name is waited for.
func TestLockWithoutItsFolder(t *testing.T) {
	open := t.TempDir()
	must(t, os.Chmod(open, 0o777))
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	for name, dir := range map[string]string{"anybody can write to it": open, "cannot be made": file} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, logs := observed(t, dir)
			gone := squat(t, l.name, "65534", "listen")
			expectLocked(t, l)
			if logs.FilterLevelExact(zapcore.WarnLevel).Len() > 3 || logs.FilterMessageSnippet(stranger).Len() != 1 || logs.FilterMessageSnippet(named).Len() != 1 {
				t.Errorf("log = %v", logs.All())
			}
			gone()
			expectFree(t, l)
		})
	}
}

// TestLockOfAnEndedProcess: the kernel unlocks the file of a process that has ended.
func TestLockOfAnEndedProcess(t *testing.T) {
	l, _ := observed(t, t.TempDir())
	must(t, os.WriteFile(l.path, nil, 0o600))
	expectFree(t, l)
}

// TestLocksAreTakenInOrder: of many lockers, one has the lock at a time.
func TestLocksAreTakenInOrder(t *testing.T) {
	dir := t.TempDir()
	holders := make(chan struct{}, 1)
	done := make(chan error)
	const many = 8
	for range many {
		l, _ := observed(t, dir)
		go func() {
			unlock, err := l.lock(t.Context())
			if err == nil {
				select {
				case holders <- struct{}{}:
				default:
					err = errors.New("two hold the lock")
				}
				time.Sleep(time.Millisecond)
				<-holders
				unlock()
			}
			done <- err
		}()
	}
	for range many {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestLockedFileIsTheOneThatIsSeen: unlocking removes the file, which others may have opened
// before.
func TestLockedFileIsTheOneThatIsSeen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	var holders, locked atomic.Int32
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for locked.Load() < 2000 && !t.Failed() {
				f, err := lockFile(path)
				if err != nil {
					if !errors.Is(err, unix.EWOULDBLOCK) {
						t.Error(err)
					}
					continue
				}
				if holders.Add(1) > 1 {
					t.Errorf("two have the lock after %d", locked.Load())
				}
				locked.Add(1)
				runtime.Gosched()
				holders.Add(-1)
				unlockFile(f)
			}
		})
	}
	all.Wait()
}

// cpu returns the CPU time that this process has used.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	must(t, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

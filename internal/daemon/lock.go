package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/internal/manifest"
	"github.com/vipd-io/vipd/internal/printable"
	"github.com/vipd-io/vipd/pkg/boottime"
)

// lockPause is the pause between two attempts to take a lock whose release gives no notice.
const lockPause = 500 * time.Millisecond

const lockedByVipd = "waiting for the lock: another vipd holds it"

// locker keeps a second vipd for the same address from running in this network namespace. vipd
// takes two locks:
//
//   - A name, that of an abstract unix socket. The kernel frees the name when the process ends, and
//     waiters notice. Versions before the lock file take the name only. Any process in the namespace
//     can take the name: an owner that is not root, or does not listen, is no vipd and is ignored.
//   - A file in a folder that only root can write to. Without that folder, as in a pod of an older
//     manifest, vipd waits for every owner of the name.
type locker struct {
	name string // of the socket
	path string // of the file
	log  *zap.Logger

	logged  map[string]bool // messages that were logged already
	refused int             // consecutive failures to connect to the name
}

func newLocker(dir string, address netip.Addr, log *zap.Logger) *locker {
	key := address.String()
	return &locker{name: "@vipd-" + key, path: filepath.Join(dir, key+"-"+netNamespace()), log: log, logged: make(map[string]bool)}
}

// netNamespace returns an identifier of this network namespace on this machine.
func netNamespace() string {
	var s unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &s); err != nil {
		return "0" // /proc is hidden: most likely the namespace of the machine
	}
	return strconv.FormatUint(s.Ino, 10)
}

// lock waits until another vipd has ended, as during an upgrade; unlock is nil if ctx ended first.
func lock(ctx context.Context, address netip.Addr, log *zap.Logger) (unlock func(), err error) {
	return newLocker(manifest.LockDir, address, log).lock(ctx)
}

// lockAll takes the lock of each group, by the first address of the group. The order is that of the
// addresses: processes with the same groups never wait for each other.
func lockAll(ctx context.Context, groups []GroupSpec, log *zap.Logger) (unlock func(), err error) {
	var held []func()
	unlock = func() {
		for _, release := range held {
			release()
		}
	}
	byAddress := func(a, b GroupSpec) int { return a.Addresses[0].Compare(b.Addresses[0]) }
	for _, g := range slices.SortedFunc(slices.Values(groups), byAddress) {
		release, err := lock(ctx, g.Addresses[0], log)
		if err != nil || release == nil {
			unlock()
			return nil, err
		}
		held = append(held, release)
	}
	return unlock, nil
}

// lock makes at least one attempt, even if ctx has ended: what an earlier process left on this node
// is then still removed in order.
func (l *locker) lock(ctx context.Context) (unlock func(), err error) {
	for {
		unlock, wait, err := l.try(context.WithoutCancel(ctx))
		if err != nil || unlock != nil {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, nil
		default:
			wait(ctx)
		}
	}
}

// try takes both locks, or returns a function that waits for the owner of one of them.
func (l *locker) try(ctx context.Context) (unlock func(), wait func(context.Context), err error) {
	release := func() {}
	socket, err := (&net.ListenConfig{}).Listen(ctx, "unix", l.name)
	switch {
	case err == nil:
		release = func() { _ = socket.Close() }
	case errors.Is(err, unix.EADDRINUSE):
		if wait = l.waitForOwner(ctx); wait != nil {
			return nil, wait, nil
		}
	default:
		return nil, nil, fmt.Errorf("lock %s: %w", l.name, err)
	}
	file, err := lockFile(l.path)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		release()
		l.warnOnce(lockedByVipd, zap.String("lock", l.path))
		return nil, pause, nil
	case err != nil && socket == nil:
		l.warnOnce("waiting for the lock: its name is taken, and the lock file is not available",
			zap.String("lock", l.name), zap.Error(err), zap.String("remedy", "mount the folder of the lock file, as vipd manifest pod does"))
		return nil, pause, nil
	case err != nil:
		l.log.Info("locked by name alone", zap.String("lock", l.name), zap.Error(err),
			zap.String("consequence", "any process on this node can take that name"),
			zap.String("remedy", "mount the folder of the lock file, as vipd manifest pod does"))
		return release, nil, nil
	}
	return func() { unlockFile(file); release() }, nil, nil
}

// waitForOwner returns a function that waits for the owner of the name; nil if the owner is no vipd
// and is to be ignored.
func (l *locker) waitForOwner(ctx context.Context) (wait func(context.Context)) {
	conn, err := (&net.Dialer{Timeout: lockPause}).DialContext(ctx, "unix", l.name)
	if err != nil {
		// The owner has ended meanwhile, or is about to listen; or the owner does not listen, or
		// its backlog is full. The last two are no vipd: only other vipds connect to a vipd's name.
		if l.refused++; l.refused < 3 {
			return pause
		}
		l.warnOnce("lock name ignored: its owner takes no connections and is no vipd",
			zap.String("lock", l.name), zap.Error(err), zap.String("remedy", "find the process with ss -xap"))
		return nil
	}
	l.refused = 0
	who := peerOf(conn)
	if who.uid != 0 {
		_ = conn.Close()
		l.warnOnce("lock name ignored: its owner is not root and is no vipd", append(who.fields(), zap.String("lock", l.name))...)
		return nil
	}
	l.warnOnce(lockedByVipd, append(who.fields(), zap.String("lock", l.name))...)
	return func(ctx context.Context) { awaitEnd(ctx, conn) }
}

// warnOnce logs each message once.
func (l *locker) warnOnce(message string, fields ...zap.Field) {
	if !l.logged[message] {
		l.logged[message] = true
		l.log.Warn(message, fields...)
	}
}

func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(lockPause):
	}
}

// awaitEnd returns when the process that listens on the other end of c ends, or ctx ends. vipd
// never accepts: the connection breaks when the socket of that vipd is closed. A process that
// accepts and closes is not asked again at once.
func awaitEnd(ctx context.Context, c net.Conn) {
	defer func() { _ = c.Close() }()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	began := boottime.Now()
	_, _ = io.Copy(io.Discard, c)
	if boottime.Now().Sub(began) < lockPause {
		pause(ctx)
	}
}

// peer is the process that listens at the other end of a unix socket (SO_PEERCRED, unix(7)). pid is
// 0 for a process in another PID namespace.
type peer struct {
	pid int32
	uid uint32
}

// peerOf takes a process of unknown credentials for a vipd.
func peerOf(conn net.Conn) (p peer) {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return peer{}
	}
	_ = raw.Control(func(fd uintptr) {
		if c, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			p = peer{pid: c.Pid, uid: c.Uid}
		}
	})
	return p
}

func (p peer) fields() []zap.Field {
	out := []zap.Field{zap.Uint32("uid", p.uid)}
	if p.pid == 0 {
		return out
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.pid))
	if err == nil {
		out = append(out, zap.String("command", printable.String(string(comm[:max(0, len(comm)-1)]))))
	}
	return append(out, zap.Int32("pid", p.pid))
}

// errFolder means that the folder of the lock file is not safe to use.
var errFolder = errors.New("not a folder that only root can write to")

// lockFile creates a file and locks it. The error is EWOULDBLOCK if the file is locked.
func lockFile(path string) (*os.File, error) {
	if err := rootOnlyFolder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open lock: %w", err)
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		// The former owner may have removed the file meanwhile: the path then names another file.
		mine, err := f.Stat()
		if there, gone := os.Stat(path); err == nil && gone == nil && os.SameFile(mine, there) {
			return f, nil
		}
		_ = f.Close()
	}
}

// unlockFile removes the file before others can lock it.
func unlockFile(f *os.File) {
	_ = unix.Unlink(f.Name())
	_ = f.Close()
}

// rootOnlyFolder creates the folder if it is missing, and returns an error unless only root can
// write to it.
func rootOnlyFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("create lock folder: %w", err)
	}
	var s unix.Stat_t
	if err := unix.Stat(dir, &s); err != nil {
		return fmt.Errorf("inspect lock folder: %w", err)
	}
	if s.Uid != 0 || s.Mode&0o022 != 0 {
		return fmt.Errorf("%s: %w", dir, errFolder)
	}
	return nil
}

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
)

// ErrNotRunning means that the process has ended.
var ErrNotRunning = errors.New("process is not running")

// killTimeout bounds the wait for a killed process, which takes long only for one that hangs in the
// kernel.
const killTimeout = time.Minute

// A Process is a command in a host's network namespace that can be started repeatedly. It is safe
// for concurrent use.
type Process struct {
	Name    string
	LogPath string // stdout and stderr of all its runs

	ns   *Namespace
	argv []string
	cred *syscall.Credential // nil: this process' credentials

	mu  sync.Mutex
	cur *run // the latest run, nil before the first
}

// A run is one execution of a process.
type run struct {
	cmd   *exec.Cmd
	done  chan struct{} // closed when the process has been reaped
	ended record.Time   // set before done is closed
}

func newProcess(ns *Namespace, name, logDir string, argv ...string) *Process {
	return &Process{Name: name, LogPath: filepath.Join(logDir, name+".log"), ns: ns, argv: argv}
}

func (p *Process) String() string { return p.Name }

// Log returns LogPath.
func (p *Process) Log() string { return p.LogPath }

// Start starts the process. A goroutine reaps it; Close of the lab waits for that.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.start(p.argv)
}

// startWith starts the process with a command line that Start uses from then on.
func (p *Process) startWith(argv []string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.start(argv)
}

func (p *Process) start(argv []string) error {
	if len(argv) == 0 {
		return fmt.Errorf("start %s: no command", p.Name)
	}
	if p.cur != nil && !isDone(p.cur.done) {
		return fmt.Errorf("start %s: already running as %d", p.Name, p.cur.cmd.Process.Pid)
	}
	log, err := os.OpenFile(p.LogPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	defer log.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = environ()
	// An own process group, so that Ctrl-C at a terminal reaches the lab only.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: p.cred}
	if err := p.ns.Do(cmd.Start); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	r := &run{cmd: cmd, done: make(chan struct{})}
	go func() {
		// cmd.ProcessState tells the same.
		_ = cmd.Wait()
		r.ended = record.Now()
		close(r.done)
	}()
	p.cur, p.argv = r, argv
	return nil
}

// environ returns the environment without the variables of vipd and of the lab: a lab's vipd gets
// all settings as flags, and rejects unknown variables.
func environ() []string {
	return slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "VIPD_") })
}

// Signal sends a signal and returns the time just before. SIGKILL, SIGSTOP and SIGCONT are sent to
// the children as well, as the kernel does for a container; other signals are the process' task to
// forward.
func (p *Process) Signal(sig syscall.Signal) (record.Time, error) {
	r := p.current()
	if r == nil {
		return 0, fmt.Errorf("signal %s: %w", p.Name, ErrNotRunning)
	}
	at := record.Now()
	err := r.signal(sig)
	if errors.Is(err, os.ErrProcessDone) {
		err = ErrNotRunning
	}
	if err != nil {
		return at, fmt.Errorf("signal %s: %w", p.Name, err)
	}
	return at, nil
}

func (r *run) signal(sig syscall.Signal) error {
	if isDone(r.done) {
		return os.ErrProcessDone
	}
	switch sig {
	case syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGCONT:
		err := syscall.Kill(-r.cmd.Process.Pid, sig) // the group has the number of the process
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	default:
		return r.cmd.Process.Signal(sig)
	}
}

// Pause stops the process with SIGSTOP, and waits until it has stopped: it keeps its sockets and
// addresses but does nothing.
func (p *Process) Pause() (record.Time, error) {
	at, err := p.Signal(syscall.SIGSTOP)
	if err != nil {
		return at, err
	}
	if err := AwaitPaused(p.Pid()); err != nil {
		return at, fmt.Errorf("pause %s: %w", p.Name, err)
	}
	return at, nil
}

// AwaitPaused waits until a process has stopped after SIGSTOP.
func AwaitPaused(pid int) error {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for {
		// The first field after the command's name is the state.
		fields, err := StatFields(pid)
		if err != nil {
			return err
		}
		switch fields[0] {
		case "T":
			return nil
		case "Z", "X":
			return ErrNotRunning
		}
		<-ticker.C
	}
}

// Resume lets a paused process go on.
func (p *Process) Resume() (record.Time, error) { return p.Signal(syscall.SIGCONT) }

// Kill sends SIGKILL and waits for the end of the process.
func (p *Process) Kill() (record.Time, error) {
	at, err := p.Signal(syscall.SIGKILL)
	if err != nil {
		return at, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
	defer cancel()
	_, err = p.Wait(ctx)
	return at, err
}

// Stop sends SIGTERM and, if the process still runs after the grace period, SIGKILL, which is an
// error. The time is that of SIGTERM.
func (p *Process) Stop(grace time.Duration) (record.Time, error) {
	at, err := p.Signal(syscall.SIGTERM)
	if err != nil {
		return at, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if _, err := p.Wait(ctx); err == nil {
		return at, nil
	}
	if _, err := p.Kill(); err != nil && !errors.Is(err, ErrNotRunning) {
		return at, err
	}
	return at, fmt.Errorf("stop %s: killed, as SIGTERM did not end it in %v", p.Name, grace)
}

// Wait waits for the end of the latest run and returns its state.
func (p *Process) Wait(ctx context.Context) (*os.ProcessState, error) {
	r := p.current()
	if r == nil {
		return nil, fmt.Errorf("wait for %s: %w", p.Name, ErrNotRunning)
	}
	select {
	case <-r.done:
		return r.cmd.ProcessState, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for %s: %w", p.Name, ctx.Err())
	}
}

// Done returns a channel that is closed at the end of the latest run, nil before the first
// run.
func (p *Process) Done() <-chan struct{} {
	if r := p.current(); r != nil {
		return r.done
	}
	return nil
}

// Running tells whether the process exists, paused or not.
func (p *Process) Running() bool {
	r := p.current()
	return r != nil && !isDone(r.done)
}

// Pid returns the process id of the latest run, 0 before the first.
func (p *Process) Pid() int {
	if r := p.current(); r != nil {
		return r.cmd.Process.Pid
	}
	return 0
}

// Ended returns when the end of the latest run was noticed.
func (p *Process) Ended() (at record.Time, ok bool) {
	r := p.current()
	if r == nil || !isDone(r.done) {
		return 0, false
	}
	return r.ended, true
}

// logTail returns the end of the log, for an error message.
func logTail(d Daemon) string {
	b, err := os.ReadFile(d.Log())
	if err != nil {
		return err.Error()
	}
	return tail(string(b), 8)
}

func (p *Process) current() *run {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cur
}

func isDone(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// tail returns the last n lines of s.
func tail(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

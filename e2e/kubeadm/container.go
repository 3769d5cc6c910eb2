package kubeadm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

const (
	// startTimeout bounds the wait for kubelet to start a container, endTimeout that for
	// the end of a killed one.
	startTimeout = time.Minute
	endTimeout   = 10 * time.Second
)

// A container is a daemon in a static pod. The kubelet is paused from Stop or Kill until
// Start, so that the container stays down.
type container struct {
	machine *Machine
	name    string       // its own, and that of its pod
	argv    []string     // how its command begins, of which the first is a file's name
	last    atomic.Int64 // process id, 0 before it was seen
}

var _ lab.Daemon = (*container)(nil)

// Daemon implements lab.Machine.
func (m *Machine) Daemon(name string) lab.Daemon {
	argv := []string{name}
	if name == "vipd" {
		argv = append(argv, "run") // the other container of the pod is `vipd kubeconfig keep`
	}
	return &container{machine: m, name: name, argv: argv}
}

func (c *container) String() string { return c.name }

// Start lets the kubelet start the container, and waits until it runs. While another
// container of the machine has to stay down, this one does, too.
func (c *container) Start() error {
	goesOn, err := c.machine.release(c.name)
	if err != nil || !goesOn {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	err = wait.Until(ctx, 20*time.Millisecond, func() (bool, error) { return c.Running(), nil })
	if err != nil {
		return fmt.Errorf("wait for kubelet to start %s on %s: %w", c.name, c.machine.Name, err)
	}
	return nil
}

// Stop implements lab.Daemon.
func (c *container) Stop(grace time.Duration) (record.Time, error) {
	at, err := c.end(syscall.SIGTERM, grace)
	if !errors.Is(err, context.DeadlineExceeded) {
		return at, err
	}
	if _, err := c.end(syscall.SIGKILL, endTimeout); err != nil && !errors.Is(err, lab.ErrNotRunning) {
		return at, err
	}
	return at, fmt.Errorf("stop %s: killed, as SIGTERM did not end it in %v", c.name, grace)
}

// Kill implements lab.Daemon.
func (c *container) Kill() (record.Time, error) { return c.end(syscall.SIGKILL, endTimeout) }

// end ends the container, which then stays down.
func (c *container) end(sig syscall.Signal, within time.Duration) (at record.Time, err error) {
	if !c.Running() {
		return record.Now(), fmt.Errorf("signal %s on %s: %w", c.name, c.machine.Name, lab.ErrNotRunning)
	}
	if err := c.machine.hold(c.name); err != nil {
		return 0, err
	}
	if at, err = c.Signal(sig); err != nil {
		_, released := c.machine.release(c.name)
		return at, errors.Join(err, released)
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	_, err = c.Wait(ctx)
	return at, err
}

// Pause implements lab.Daemon.
func (c *container) Pause() (record.Time, error) {
	at, err := c.Signal(syscall.SIGSTOP)
	if err == nil {
		err = lab.AwaitPaused(int(c.last.Load()))
	}
	return at, err
}

// Resume implements lab.Daemon.
func (c *container) Resume() (record.Time, error) { return c.Signal(syscall.SIGCONT) }

// Signal implements lab.Daemon. A container that ends by the signal is started again by the
// kubelet.
func (c *container) Signal(sig syscall.Signal) (record.Time, error) {
	pid := c.Pid()
	at := record.Now()
	err := lab.ErrNotRunning
	if pid != 0 {
		err = syscall.Kill(pid, sig)
	}
	if errors.Is(err, syscall.ESRCH) {
		err = lab.ErrNotRunning
	}
	if err != nil {
		return at, fmt.Errorf("signal %s on %s: %w", c.name, c.machine.Name, err)
	}
	return at, nil
}

// crash kills a container and leaves the restart to the kubelet.
func (m *Machine) crash(name string) error {
	_, err := m.Daemon(name).Signal(syscall.SIGKILL)
	return err
}

// Running implements lab.Daemon.
func (c *container) Running() bool { return c.Pid() != 0 }

// Wait waits for the end of the process that Signal or Pid found last. Its parent, which
// knows the state, is containerd's.
func (c *container) Wait(ctx context.Context) (*os.ProcessState, error) {
	err := wait.Until(ctx, time.Millisecond, func() (bool, error) { return !c.is(int(c.last.Load())), nil })
	if err != nil {
		return nil, fmt.Errorf("wait for %s on %s: %w", c.name, c.machine.Name, err)
	}
	return nil, nil
}

// Done implements lab.Daemon.
func (c *container) Done() <-chan struct{} { return nil }

// Log is the log of the newest run.
func (c *container) Log() string {
	logs, _ := c.machine.Logs(c.name)
	return newest(logs)
}

// Logs are the logs of all runs of a container in a static pod of the same name.
func (m *Machine) Logs(container string) ([]string, error) {
	return filepath.Glob(m.disk(fmt.Sprintf("var/log/pods/*_%s-*_*/%s/*.log", container, container)))
}

// newest is the file that was written to last, "" of none.
func newest(files []string) (path string) {
	var at time.Time
	for _, f := range files {
		if info, err := os.Stat(f); err == nil && info.ModTime().After(at) {
			path, at = f, info.ModTime()
		}
	}
	return path
}

// Pid is the process id outside of the container, 0 if the container does not run.
func (c *container) Pid() int {
	if last := int(c.last.Load()); last != 0 && c.is(last) {
		return last
	}
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	for _, p := range procs {
		if pid, err := strconv.Atoi(p.Name()); err == nil && c.is(pid) {
			c.last.Store(int64(pid))
			return pid
		}
	}
	return 0
}

// is tells whether a process belongs to the container, and has not ended.
func (c *container) is(pid int) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // empty of one that has ended
	if err != nil || len(line) == 0 {
		return false
	}
	argv := strings.Split(string(line), "\x00")
	argv[0] = filepath.Base(argv[0])
	if len(argv) < len(c.argv) || !slices.Equal(argv[:len(c.argv)], c.argv) {
		return false
	}
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	return err == nil && bytes.Contains(groups, []byte(c.machine.cgroup+"/"))
}

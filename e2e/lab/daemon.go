package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
)

// A Daemon is a program of a node that faults stop, kill or pause. On a plain node it is a
// Process, on a node with a kubelet a container of a static pod. The time that a method
// returns is just before its signal.
type Daemon interface {
	fmt.Stringer // its name

	Start() error
	// Stop sends SIGTERM, and SIGKILL to a daemon that is there after the grace period, which is
	// an error.
	Stop(grace time.Duration) (record.Time, error)
	// Kill sends SIGKILL and waits for the end. A stopped or killed daemon stays down until
	// Start.
	Kill() (record.Time, error)
	// Pause sends SIGSTOP and waits until the daemon has stopped. Resume sends SIGCONT.
	Pause() (record.Time, error)
	Resume() (record.Time, error)
	Signal(syscall.Signal) (record.Time, error)

	Running() bool
	Pid() int
	// Wait waits for the end. The state is nil for a container, whose parent is another process.
	Wait(context.Context) (*os.ProcessState, error)
	// Done is closed at the end. It is nil, which blocks for ever, for a container, which a
	// kubelet starts again.
	Done() <-chan struct{}
	// Log is the path of the log, to which each run appends.
	Log() string
}

var _ Daemon = (*Process)(nil)

// Restart stops the daemon if it runs, and starts it again.
func Restart(d Daemon, grace time.Duration) error {
	if _, err := d.Stop(grace); err != nil && !errors.Is(err, ErrNotRunning) {
		return err
	}
	return d.Start()
}

// askedAgain is how long after the first SIGTERM StopNow sends the second one: a vipd has noticed the first
// by then.
const askedAgain = 300 * time.Millisecond

// StopNow is Stop for a vipd that is not to wait for the next holder: it sends a second SIGTERM.
func StopNow(vipd Daemon, grace time.Duration) (record.Time, error) {
	again := time.AfterFunc(askedAgain, func() { _, _ = vipd.Signal(syscall.SIGTERM) }) // it may have ended
	defer again.Stop()
	return vipd.Stop(grace)
}

// A Machine runs the daemons of a node that has a kubelet.
type Machine interface {
	// Daemon finds a daemon by the name of its static pod.
	Daemon(name string) Daemon
	// Boot starts the machine after its power was cut.
	Boot(context.Context) error
	// Whole waits until all that the machine has to run is ready.
	Whole(context.Context) error
}

// RunOn makes a machine run the daemons of the node, in place of the lab.
func (n *Node) RunOn(m Machine) {
	n.machine = m
	n.Etcd, n.APIServer, n.Vipd = m.Daemon("etcd"), m.Daemon("kube-apiserver"), m.Daemon("vipd")
}

// Whole waits until the machine of the node is whole. On a plain node, vipd has to run.
func (n *Node) Whole(ctx context.Context) error {
	if n.machine != nil {
		return n.machine.Whole(ctx)
	}
	if !n.Vipd.Running() {
		return fmt.Errorf("vipd on %s is not running", n.Name)
	}
	return nil
}

// own returns the process of a daemon, which the daemon of a machine does not have.
func (n *Node) own(d Daemon) (*Process, error) {
	p, ok := d.(*Process)
	if !ok {
		return nil, fmt.Errorf("the flags of %s on %s are its machine's", d, n.Name)
	}
	return p, nil
}

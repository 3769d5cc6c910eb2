package capi

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// isolated in the environment says that this process is the one in the namespace.
const isolated = "CAPI_ISOLATED"

// Isolate runs this program once more, in a network namespace of its own, and returns the program's
// exit status. In that namespace Isolate returns false, with only a loopback interface that is up:
// Cluster API asks for the API servers of all clusters, and no question may leave this machine.
func Isolate() (ended bool, code int, err error) {
	if os.Getenv(isolated) != "" {
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		if err != nil {
			return false, 0, fmt.Errorf("set up loopback interface: %w", err)
		}
		return false, 0, nil
	}
	// The child dies with the thread that started it (PR_SET_PDEATHSIG in prctl(2)).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), isolated+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	if status, ok := errors.AsType[*exec.ExitError](err); ok {
		return true, status.ExitCode(), nil
	}
	if err != nil {
		return true, 1, fmt.Errorf("run in a network namespace: %w", err)
	}
	return true, 0, nil
}

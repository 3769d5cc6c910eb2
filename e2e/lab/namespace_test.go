package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// TestNamespaceBesideIproute2: on a machine without named namespaces so far, the first `ip netns
// add` of another program does not prevent the deletion of the lab's namespaces.
func TestNamespaceBesideIproute2(t *testing.T) {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends here, with its mounts
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
				return err
			}
			if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
				return err
			}
			if err := unix.Mount("tmpfs", filepath.Dir(netnsDir), "tmpfs", 0, ""); err != nil { // as after a boot
				return err
			}
			if err := os.Mkdir(netnsDir, 0o755); err != nil {
				return err
			}
			n, err := newNamespace("vipd-mine")
			if err != nil {
				return err
			}
			for _, verb := range []string{"add", "delete"} {
				if out, err := exec.Command("ip", "netns", verb, "vipd-theirs").CombinedOutput(); err != nil {
					t.Errorf("ip netns %s: %v: %s", verb, err, out)
				}
			}
			if err := n.close(); err != nil {
				return err
			}
			return netns.DeleteNamed(n.Name)
		}()
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

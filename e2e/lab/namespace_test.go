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

// TestNamespaceBesideIproute2: where nobody has made a named namespace before, the
// first `ip netns add` of somebody else does not keep ours from being deleted.
func TestNamespaceBesideIproute2(t *testing.T) {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread, with its mounts, ends here
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

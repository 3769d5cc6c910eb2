package capi

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// bareNode is the root file system of a node: this machine's, with an overlay that ends with the
// process, and an empty /run.
const bareNode = `set -eu
mount -t tmpfs bare "$1"
cd "$1"
mkdir upper work root
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work bare root
mount -t tmpfs run root/run
mount --rbind /dev root/dev
touch up
exec sleep infinity`

// A bare node runs commands in that root file system.
type bare struct {
	pid  int
	root string
}

func newBare(t *testing.T) *bare {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("unshare", "--mount", "--uts", "--propagation", "private", "sh", "-c", bareNode, "sh", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out strings.Builder
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // the process was killed
	})
	n := &bare{pid: cmd.Process.Pid, root: filepath.Join(dir, "root")}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := wait.Until(ctx, 10*time.Millisecond, func() (bool, error) {
		_, err := os.Stat(fmt.Sprintf("/proc/%d/root%s/up", n.pid, dir))
		return err == nil, nil
	})
	if err != nil {
		t.Fatalf("make a bare node: %v\n%s", err, out.String())
	}
	return n
}

// Run implements Node.
func (n *bare) Run(ctx context.Context, argv ...string) (string, error) {
	enter := []string{"--target", strconv.Itoa(n.pid), "--mount", "--uts", "chroot", n.root}
	out, err := exec.CommandContext(ctx, "nsenter", append(enter, argv...)...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%v: %w\n%s", argv, err, out)
	}
	return string(out), err
}

// install writes a program.
func (n *bare) install(t *testing.T, name, script string) {
	t.Helper()
	f := File{Path: "/usr/local/bin/" + name, Owner: "root:root", Permissions: "0755", Content: script}
	if err := f.write(t.Context(), n); err != nil {
		t.Fatal(err)
	}
}

// TestApply: files are written before commands run, with their permissions; a command that fails
// does not stop the others; only the result of kubeadm counts.
func TestApply(t *testing.T) {
	u := &UserData{
		WriteFiles: []File{{Path: "/etc/a b/c", Owner: "root:root", Permissions: "0600", Content: "it's\n$HOME\n"},
			{Path: "/run/cluster-api/placeholder", Owner: "root:root", Permissions: "0640"}},
		RunCmd: []string{"false", "kubeadm init && echo success > " + success},
	}
	n := newBare(t)
	n.install(t, "kubeadm", "#!/bin/sh\nstat -c %a '/etc/a b/c'\ncat '/etc/a b/c'\n")
	out, err := u.Apply(t.Context(), n)
	if err != nil || out != "600\nit's\n$HOME\n" {
		t.Errorf("Apply = %q, %v", out, err)
	}
	if _, err := os.Stat("/etc/a b"); err == nil {
		t.Error("the files are on this machine")
	}

	n = newBare(t)
	n.install(t, "kubeadm", "#!/bin/sh\necho no >&2\nexit 1\n")
	if out, err := u.Apply(t.Context(), n); err == nil || out != "no\n" {
		t.Errorf("Apply with a kubeadm that fails = %q, %v", out, err)
	}
}

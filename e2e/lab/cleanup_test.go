package lab_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vipd-io/vipd/e2e/lab"
)

// A second lab runs beside the first and leaves nothing. Its name is one that YAML takes for a
// number, as a random one may be.
func TestSecondLab(t *testing.T) {
	ctx := within(t, 2*time.Minute)
	withVipd := binaries
	withVipd.Vipd = filepath.Join(t.TempDir(), "vipd")
	if err := os.WriteFile(withVipd.Vipd, []byte("#!/bin/sh\necho \"$@\"\nexec sleep 1000\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	second, err := lab.Start(ctx, lab.Options{Name: "720e09", Binaries: withVipd})
	if err != nil {
		t.Fatal(err)
	}
	startVipd(t, second.Nodes[1])
	// Close ends it.
	if _, err := second.Nodes[2].Interpose(func(*http.Request) lab.Effect { return lab.Effect{} }); err != nil {
		t.Error(err)
	}
	makeCgroup(t, second)
	pids := []int{second.Nodes[0].Etcd.Pid(), second.Nodes[2].APIServer.Pid()}
	for _, l := range []*lab.Lab{shared, second} {
		if err := l.Nodes[1].WaitReady(ctx); err != nil {
			t.Error(err)
		}
	}
	logs := t.TempDir()
	if err := second.SaveLogs(logs); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(filepath.Join(logs, "n3", "etcd.log")); err != nil || len(b) == 0 {
		t.Errorf("saved log of etcd on n3: %d bytes, %v", len(b), err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	nothingLeft(t, second.Name)
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
			t.Errorf("process %d after Close: %v, want %v", pid, err, syscall.ESRCH)
		}
	}
	if err := shared.Nodes[1].WaitReady(ctx); err != nil {
		t.Error(err)
	}
}

// startVipd starts a simulated vipd that prints its arguments, twice.
func startVipd(t *testing.T, n *lab.Node) {
	t.Helper()
	if err := n.StartVipd("--lease-duration", "5s"); err != nil {
		t.Fatal(err)
	}
	want := "run --interface eth0 --address 192.168.35.100 --port 6443 --node-name n2 --kubeconfig " + n.Dir +
		"/admin.conf --lease-duration 3s --log-format json --status-address :2112 --lease-duration 5s\n"
	for i, all := range []string{want, want + want} {
		var log []byte
		for ctx := within(t, 5*time.Second); ctx.Err() == nil && string(log) != all; {
			log, _ = os.ReadFile(n.Vipd.Log())
		}
		if string(log) != all {
			t.Errorf("start %d: log %q, want %q", i, log, all)
		}
		var group uint32
		if info, err := os.Stat(fmt.Sprintf("/proc/%d", n.Vipd.Pid())); err == nil {
			group = info.Sys().(*syscall.Stat_t).Gid
		}
		if group != lab.VipdGroup {
			t.Errorf("start %d: vipd is of group %d, want %d, by which Interpose knows it", i, group, lab.VipdGroup)
		}
		if i == 0 {
			if err := lab.Restart(n.Vipd, 5*time.Second); err != nil {
				t.Error(err)
			}
		}
	}
}

// makeCgroup runs a process in a group of the lab, as kubelet does with pods.
func makeCgroup(t *testing.T, l *lab.Lab) {
	t.Helper()
	path, err := l.MakeCgroup(l.Nodes[1].Host)
	if err != nil {
		t.Fatal(err)
	}
	roots, _ := filepath.Glob("/sys/fs/cgroup/pids") // of version 1
	if len(roots) == 0 {
		roots = []string{"/sys/fs/cgroup"}
	}
	pod := filepath.Join(roots[0], path, "pods", "pod")
	if err := os.MkdirAll(pod, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(pod, "cgroup.procs"), []byte(strconv.Itoa(l.Nodes[1].Vipd.Pid())), 0o644); err != nil {
		t.Fatal(err)
	}
}

func nothingLeft(t *testing.T, name string) {
	t.Helper()
	if left, err := lab.Left(name); err != nil || len(left) > 0 {
		t.Errorf("left over: %q, %v", left, err)
	}
}

// mentioning returns the processes with the text in their command line.
func mentioning(t *testing.T, text string) (pids []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), text) {
			pids = append(pids, filepath.Base(filepath.Dir(f)))
		}
	}
	return pids
}

// A lab whose owner was killed is swept; one with a living owner is not.
func TestSweep(t *testing.T) {
	ctx := within(t, 2*time.Minute)
	const name = "orphan"
	_ = lab.Remove(name) // of an earlier, interrupted run
	owner := exec.CommandContext(ctx, os.Args[0])
	owner.Env = append(os.Environ(), ownerEnv+"="+name)
	owner.Stderr = os.Stderr
	out, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "started\n" {
		t.Errorf("owner printed %q, %v", line, err)
	}
	if err := lab.Sweep(ctx); err != nil {
		t.Error(err)
	}
	if len(mentioning(t, filepath.Join(lab.StateRoot, name)+"/")) != 6 {
		t.Error("swept a lab whose owner is alive")
	}
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait() // killed
	if len(mentioning(t, filepath.Join(lab.StateRoot, name)+"/")) != 6 {
		t.Error("the lab's processes ended with its owner: nothing to sweep up")
	}
	if err := lab.Sweep(ctx); err != nil {
		t.Error(err)
	}
	nothingLeft(t, name)
}

func TestStartRefuses(t *testing.T) {
	for _, name := range []string{"With Space", "../up", "a-b", shared.Name} {
		if l, err := lab.Start(t.Context(), lab.Options{Name: name, Binaries: binaries}); err == nil {
			t.Errorf("started a lab named %q", name)
			l.Close()
		}
	}
	if err := shared.Nodes[0].WaitReady(within(t, 10*time.Second)); err != nil {
		t.Errorf("after a second start with its name: %v", err)
	}
}

// A cancelled start leaves nothing.
func TestStartCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	const name = "cancelled"
	_, err := lab.Start(ctx, lab.Options{Name: name, Binaries: binaries, Progress: func(what string) {
		if strings.Contains(what, "etcd") {
			cancel()
		}
	}})
	if err == nil {
		t.Error("started")
	}
	nothingLeft(t, name)
}

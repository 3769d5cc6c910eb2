package kubeadm

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"text/template"
	"time"

	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

//go:embed machine init.yaml join.yaml
var embedded embed.FS

// bootTimeout bounds a machine's start, and that of its containerd.
const bootTimeout = 30 * time.Second

// A Machine is a host of the lab with a root of its own, containerd and kubelet.
type Machine struct {
	*lab.Host

	Kubelet  *lab.Process // which waits for kubeadm to configure it
	Hostname string

	nameserver string // "" for nobody

	lab        *lab.Lab
	programs   []string     // in its path
	init       *lab.Process // holds the mounts
	containerd *lab.Process
	cgroup     string // of the machine's pods

	mu   sync.Mutex
	held map[string]bool // see hold
}

// newMachine is a machine on a host, with programs in its path.
func newMachine(l *lab.Lab, h *lab.Host, programs ...string) *Machine {
	return &Machine{Host: h, Hostname: h.Name, lab: l, programs: programs, held: make(map[string]bool)}
}

// setUp starts the machine for the first time.
func (m *Machine) setUp(ctx context.Context) error {
	err := m.writeFiles()
	if err == nil {
		err = m.boot(ctx)
	}
	if err != nil {
		return fmt.Errorf("boot %s: %w", m.Name, err)
	}
	return nil
}

func (m *Machine) boot(ctx context.Context) (err error) {
	// A kubelet looks up each control group that it finds, and waits for seconds where the
	// container is gone.
	m.cgroup, err = m.lab.MakeCgroup(m.Host)
	if err == nil {
		err = m.writeArguments()
	}
	if err != nil {
		return err
	}
	script := filepath.Join(m.Dir, "boot.sh")
	m.init = m.lab.NewProcess(m.Host, "init", append([]string{
		"unshare", "--mount", "--uts", "--propagation", "private", "sh", script, m.Dir, m.Hostname}, m.programs...)...)
	if err := m.init.Start(); err != nil {
		return err
	}
	if err := m.await(ctx, m.init, func() error { _, err := os.Stat(m.disk(booted)); return err }); err != nil {
		return err
	}
	m.containerd = m.lab.NewProcess(m.Host, "containerd", m.inside("containerd")...)
	if err := m.containerd.Start(); err != nil {
		return err
	}
	if err := m.await(ctx, m.containerd, func() error { _, err := m.ctr(ctx, "version"); return err }); err != nil {
		return err
	}
	m.Kubelet = m.lab.NewProcess(m.Host, "kubelet", m.inside("sh", "/opt/kubelet.sh")...)
	return nil
}

// booted is a file that boot.sh makes at its end.
const booted = "var/log/booted"

// Boot starts the machine again, after its power was cut.
func (m *Machine) Boot(ctx context.Context) error {
	m.mu.Lock()
	clear(m.held)
	m.mu.Unlock()
	for _, p := range []*lab.Process{m.Kubelet, m.containerd, m.init} {
		if _, err := p.Wait(ctx); err != nil {
			return fmt.Errorf("boot %s: %w", m.Name, err)
		}
	}
	err := os.Remove(m.disk(booted))
	if err == nil {
		err = m.boot(ctx)
	}
	if err != nil {
		return fmt.Errorf("boot %s: %w", m.Name, err)
	}
	return m.StartKubelet(ctx)
}

// synced is what the kubelet logs when it knows its pods from all sources, the API server
// included. Until then the kubelet removes no pod.
const synced = "Finished populating initial desired state of world"

// StartKubelet starts the kubelet of a node, and waits until it manages all pods.
func (m *Machine) StartKubelet(ctx context.Context) error {
	before, err := os.Stat(m.Kubelet.LogPath)
	if err != nil {
		return err
	}
	if err := m.Kubelet.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, wholeTimeout)
	defer cancel()
	err = wait.Until(ctx, 50*time.Millisecond, func() (bool, error) {
		log, err := os.ReadFile(m.Kubelet.LogPath)
		return err == nil && bytes.Contains(log[before.Size():], []byte(synced)), err
	})
	if err != nil {
		return fmt.Errorf("wait for kubelet on %s: %w", m.Name, err)
	}
	return nil
}

// await waits for something that the process does.
func (m *Machine) await(ctx context.Context, p *lab.Process, ready func() error) error {
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	var last error
	err := wait.Until(ctx, 50*time.Millisecond, func() (bool, error) {
		if last = ready(); last != nil && !p.Running() {
			return false, errors.New("it ended")
		}
		return last == nil, nil
	})
	if err != nil {
		log, _ := os.ReadFile(p.LogPath)
		return fmt.Errorf("wait for %s: %w (last: %w)\n%s", p.Name, err, last, log)
	}
	return nil
}

// inside is a command in the machine's mounts. That of the network is the host's
// business. (`ip netns exec` would mount a /sys without control groups.)
func (m *Machine) inside(argv ...string) []string {
	return append([]string{"nsenter", "--target", strconv.Itoa(m.init.Pid()), "--mount", "--uts", "--"}, argv...)
}

// Run runs a command in the machine to its end, and returns what it printed.
func (m *Machine) Run(ctx context.Context, argv ...string) (string, error) {
	return m.Host.Run(ctx, m.inside(argv...)...)
}

// ctr speaks to containerd, about the containers that kubelet made.
func (m *Machine) ctr(ctx context.Context, args ...string) (string, error) {
	return m.Run(ctx, append([]string{"ctr", "--namespace", "k8s.io"}, args...)...)
}

// disk is where a file of the machine is seen from outside, if it is in one of the
// folders that boot.sh keeps on the disk.
func (m *Machine) disk(path string) string { return filepath.Join(m.Dir, "disk", path) }

// PKI is where kubeadm's certificates are seen from outside.
func (m *Machine) PKI() string { return m.disk("etc/kubernetes/pki") }

// write writes a file of the machine, as one that is whole at once.
func (m *Machine) write(path string, content []byte) error {
	path = m.disk(path)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		part := filepath.Join(m.Dir, "part")
		if err = os.WriteFile(part, content, 0o600); err == nil {
			err = os.Rename(part, path)
		}
	}
	if err != nil {
		return fmt.Errorf("write on %s: %w", m.Name, err)
	}
	return nil
}

// writeFiles writes what the machine boots with.
func (m *Machine) writeFiles() error {
	values := map[string]any{"Pause": pauseImage, "Name": m.Hostname, "VIP": m.lab.VIP, "DNSName": DNSName, "Nameserver": m.nameserver}
	return fs.WalkDir(embedded, "machine", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := render(path, values)
		if err != nil {
			return err
		}
		to := filepath.Join(m.Dir, strings.TrimPrefix(path, "machine/"))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, []byte(text), 0o644)
	})
}

// writeArguments writes the arguments of kubelet that belong to the machine, where the packages of
// Kubernetes read them. Each machine has a control group of its own, as all machines share a kernel:
// kubelet ends pods in its group that it does not know.
func (m *Machine) writeArguments() error {
	file := filepath.Join(m.Dir, "files", "etc", "default", "kubelet")
	err := os.MkdirAll(filepath.Dir(file), 0o755)
	if err == nil {
		err = os.WriteFile(file, []byte("KUBELET_EXTRA_ARGS=--cgroup-root="+m.cgroup+"\n"), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write arguments of kubelet: %w", err)
	}
	return nil
}

// render is an embedded file, as a template.
func render(path string, values any) (string, error) {
	t, err := template.ParseFS(embedded, path)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	err = t.Option("missingkey=error").Execute(&text, values)
	return text.String(), err
}

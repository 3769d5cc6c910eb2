package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"github.com/vipd-io/vipd/e2e/lab"
)

// A Machine describes the machine and the versions of a benchmark.
type Machine struct {
	CPU        string  `json:"cpu"`
	Cores      int     `json:"cores"`
	MemoryGiB  float64 `json:"memoryGiB"`
	Kernel     string  `json:"kernel"`
	Go         string  `json:"go"`
	Kubernetes string  `json:"kubernetes"`
	Etcd       string  `json:"etcd"`
	Keepalived string  `json:"keepalived"`
	Commit     string  `json:"commit"` // of vipd
}

// ThisMachine returns the description of this machine. Unknown values are "unknown".
func ThisMachine(ctx context.Context, bin lab.Binaries) Machine {
	return Machine{
		CPU: valueOf("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(), MemoryGiB: memoryGiB(),
		Kernel: firstLine(ctx, "uname", "-srm"), Go: strings.TrimPrefix(runtime.Version(), "go"), Kubernetes: lab.KubernetesVersion(),
		Etcd:       strings.TrimPrefix(firstLine(ctx, bin.Etcd, "--version"), "etcd Version: "),
		Keepalived: strings.TrimPrefix(firstLine(ctx, "keepalived", "--version"), "Keepalived "),
		Commit:     firstLine(ctx, "git", "describe", "--always", "--dirty"),
	}
}

const unknown = "unknown"

// valueOf returns the value of "key : value" in a file.
func valueOf(file, key string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return unknown
	}
	for l := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return unknown
}

func memoryGiB() float64 {
	kib, err := strconv.ParseFloat(strings.TrimSuffix(valueOf("/proc/meminfo", "MemTotal"), " kB"), 64)
	if err != nil {
		return 0
	}
	return kib / (1 << 20)
}

// firstLine returns the first line of a command's output.
func firstLine(ctx context.Context, argv ...string) string {
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	first, _, _ := strings.Cut(string(out), "\n")
	if err != nil || first == "" {
		return unknown
	}
	return strings.TrimSpace(first)
}

func (m Machine) String() string {
	return fmt.Sprintf("%s, %d cores, %.1f GiB, %s; Go %s, Kubernetes %s, etcd %s, keepalived %s, vipd %s",
		m.CPU, m.Cores, m.MemoryGiB, m.Kernel, m.Go, m.Kubernetes, m.Etcd, m.Keepalived, m.Commit)
}

package kubeadm

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vipd-io/vipd/e2e/analyse"
	"github.com/vipd-io/vipd/e2e/lab"
)

// TestKubeadm makes a cluster and breaks it, one way after the other. The sysctls
// are those that kubelet sets.
func TestKubeadm(t *testing.T) {
	before := sysctls(t)
	var name string
	err := With(t.Context(), func(c *Cluster) error {
		name = c.Lab.Name
		t.Run("cluster", func(t *testing.T) {
			t.Cleanup(func() {
				if t.Failed() {
					keep(t, c)
				}
			})
			testCluster(t, c)
		})
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	nothingLeft(t, name)
	if after := sysctls(t); after != before {
		t.Errorf("kubelet's settings of the kernel were\n%s\nand are\n%s", before, after)
	}
}

func testCluster(t *testing.T, c *Cluster) {
	began := time.Now()
	if err := c.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("kubeadm init: %.1f s", time.Since(began).Seconds())
	// kubeadm 1.36 itself waits for the API server, and not for the VIP.
	if _, err := c.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("all pods ready, the VIP answers: %.1f s", time.Since(began).Seconds())
	testName(t, c)
	for _, f := range Faults {
		whole := false
		t.Run(f.Name, func(t *testing.T) { whole = testFault(t, c, f) })
		if !whole {
			return
		}
	}
}

// testName asks the VIP by its name.
func testName(t *testing.T, c *Cluster) {
	t.Helper()
	pem, err := os.ReadFile(c.Nodes[0].Lab.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	raw, err := c.Lab.Clients[0].NS.Dial(t.Context(), "tcp", netip.AddrPortFrom(lab.VIP, lab.Port).String())
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(raw, &tls.Config{ServerName: DNSName, RootCAs: roots})
	defer conn.Close()
	if err := conn.HandshakeContext(t.Context()); err != nil {
		t.Errorf("the VIP by the name of %s: %v", DNSName, err)
	}
}

// testFault tells whether the cluster is whole after it.
func testFault(t *testing.T, c *Cluster, f Fault) bool {
	e, err := c.Try(t.Context(), f)
	if err != nil {
		t.Error(err)
		return false
	}
	violations, err := analyse.Judge(e)
	if err != nil {
		t.Error(err)
	}
	for _, v := range violations {
		t.Error(v)
	}
	m := analyse.Measure(e)
	t.Logf("%s: %s to %s, unreachable for %v, %d requests failed", f.Title, e.Holder, e.Next, m.Unreachable.Round(time.Millisecond), m.Failed)
	return true
}

// keep saves what there is to look at.
func keep(t *testing.T, c *Cluster) {
	dir, err := filepath.Abs(filepath.Join("..", "reports", "kubeadm-"+c.Lab.Name))
	if err != nil {
		t.Error(err)
		return
	}
	if err := c.SaveLogs(dir); err != nil {
		t.Error(err)
	}
	t.Logf("logs are in %s", dir)
}

// sysctls are those that kubelet sets.
func sysctls(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, name := range []string{"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops"} {
		b, err := os.ReadFile("/proc/sys/" + name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&all, "%s %s", name, b)
	}
	return all.String()
}

func nothingLeft(t *testing.T, name string) {
	t.Helper()
	if name == "" {
		return
	}
	for _, pattern := range []string{
		"/run/netns/vipd-" + name + "-*", filepath.Join(lab.StateRoot, name), "/sys/fs/cgroup/*/vipd-lab-" + name, "/sys/fs/cgroup/vipd-lab-" + name,
		"/etc/kubernetes", "/var/lib/kubelet", "/var/lib/etcd", "/etc/vipd", "/etc/cni", "/run/containerd",
	} {
		if left, _ := filepath.Glob(pattern); len(left) > 0 {
			t.Errorf("left over: %v", left)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), filepath.Join(lab.StateRoot, name)) {
		t.Errorf("mounts left over:\n%s", mounts)
	}
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), name) && strings.Contains(string(b), "vipd-lab") {
			t.Errorf("process left over: %s", b)
		}
	}
}

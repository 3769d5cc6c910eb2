package kubeadm_test

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/judge/analyse"
	"github.com/vipd-io/vipd/e2e/kubeadm"
	"github.com/vipd-io/vipd/e2e/lab"
)

var (
	flagAll   = flag.Bool("all", false, "try the faults, too, that package chaos tries on nodes without a kubelet (make nightly)")
	flagFault = flag.String("fault", "", "the one fault to inject into the complete cluster, for a measurement")
	flagTimes = flag.Int("times", 1, "how often -fault is injected")
)

// TestKubeadm creates a cluster and injects one fault after the other. The sysctls are those that
// kubelet sets.
func TestKubeadm(t *testing.T) {
	before := sysctls(t)
	var name string
	err := kubeadm.With(t.Context(), func(c *kubeadm.Cluster) error {
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

func testCluster(t *testing.T, c *kubeadm.Cluster) {
	began := time.Now()
	start(t, c)
	t.Logf("kubeadm init, and the VIP answers: %.1f s", time.Since(began).Seconds())
	// kubeadm 1.36 itself waits for the API server, and not for the VIP.
	if _, err := c.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("all pods ready, the VIP answers: %.1f s", time.Since(began).Seconds())
	testName(t, c)
	for _, f := range steps(t, c) {
		whole := false
		t.Run(f.Name, func(t *testing.T) { whole = testFault(t, c, f) })
		if !whole {
			return
		}
	}
	if *flagAll { // last: the static pods are gone after it
		testDaemonSet(t, c)
	}
}

// ofChaos are faults that package chaos also injects on nodes without a kubelet. The kubelet has no
// part in their effects, or only after the VIP has moved.
var ofChaos = []string{"containerkilled", "poweroff"}

// steps are the tests in a possible order: the first steps complete the cluster.
func steps(t *testing.T, c *kubeadm.Cluster) []failover.Fault {
	t.Helper()
	off, err := failover.ByName("poweroff")
	if err != nil {
		t.Fatal(err)
	}
	all := slices.DeleteFunc(slices.Concat(c.Joins(), c.Faults(), []failover.Fault{off}), func(f failover.Fault) bool {
		return slices.Contains(ofChaos, f.Name) && !*flagAll
	})
	if *flagFault == "" {
		return all
	}
	i := slices.IndexFunc(all, func(f failover.Fault) bool { return f.Name == *flagFault })
	if i < 0 {
		t.Fatalf("-fault %s: there is no such fault", *flagFault)
	}
	return slices.Concat(c.Joins(), slices.Repeat(all[i:i+1], *flagTimes))
}

// testName sends a request to the VIP by its name.
func testName(t *testing.T, c *kubeadm.Cluster) {
	t.Helper()
	pem, err := os.ReadFile(c.Nodes[0].Lab.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	raw, err := c.Lab.Clients[0].NS.Dial(t.Context(), "tcp", c.Lab.Endpoint().String())
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(raw, &tls.Config{ServerName: kubeadm.DNSName, RootCAs: roots})
	defer conn.Close()
	if err := conn.HandshakeContext(t.Context()); err != nil {
		t.Errorf("the VIP by the name of %s: %v", kubeadm.DNSName, err)
	}
}

// testFault injects a fault, and tells whether the cluster is complete after it.
func testFault(t *testing.T, c *kubeadm.Cluster, f failover.Fault) bool {
	began := time.Now()
	o, err := failover.Run(t.Context(), c.Lab, f, func(format string, args ...any) {
		t.Logf("%5.1f s  %s", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	})
	if err != nil {
		t.Error(err)
		return false
	}
	for _, v := range o.Violations {
		t.Error(v)
	}
	if o.Unproven != "" { // kubelet and kubeadm sometimes use all of the machine, and some steps cannot be repeated
		t.Logf("nothing is proven: %s", o.Unproven)
	}
	if len(o.Gaps) > 0 {
		t.Logf("not observed: %s", analyse.Sum(o.Gaps))
	}
	t.Logf("%s: %s to %s, unanswered for %v, unreachable for %v, %d requests failed", f.Title, o.Holder, o.Next,
		o.Unanswered.Round(time.Millisecond), o.Unreachable.Round(time.Millisecond), o.Failed)
	return true
}

// keep saves logs and records.
func keep(t *testing.T, c *kubeadm.Cluster) {
	dir, err := filepath.Abs(filepath.Join("..", "..", "reports", "kubeadm-"+c.Lab.Name))
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

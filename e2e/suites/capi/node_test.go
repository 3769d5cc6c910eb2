package capi

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/vipd-io/vipd/e2e/kubeadm"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// TestNode continues after TestUserData: a bare node applies the user data, and `kubeadm init`
// succeeds and the VIP is up.
func TestNode(t *testing.T) {
	err := kubeadm.WithOne(t.Context(), func(c *kubeadm.Cluster) error {
		err := c.InitBy(t.Context(), func(ctx context.Context, m *kubeadm.Machine) error { return initialize(ctx, t, m) })
		if err == nil {
			err = reachable(t.Context(), c.Lab)
		}
		if err != nil {
			keep(t, c)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// initialize makes Cluster API generate user data for a machine, and applies the user data on that
// machine.
func initialize(ctx context.Context, t *testing.T, m *kubeadm.Machine) error {
	t.Helper()
	ns := newNamespace(t)
	create(t, testdata(t, "cluster.yaml", ns)...)
	o := inNamespace(t, kcp(t, "full", "v1beta2", "--name", "uat", "--namespace", ns, "--dns-name", dnsName, "--image", "vipd:lab", "--kubernetes-version", lab.KubernetesVersion()), ns)
	merge(o.Object, labOnly(t, m))
	create(t, o)
	u, err := ParseUserData(bootstrapData(t, ns), values(m.Name))
	if err != nil {
		return err
	}
	begin := time.Now()
	out, err := u.Apply(ctx, m)
	t.Logf("user data applied in %.1f s", time.Since(begin).Seconds())
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// labOnly is what a node in the lab needs in addition to the KubeadmControlPlane.
func labOnly(t *testing.T, m *kubeadm.Machine) object {
	t.Helper()
	text, err := template.ParseFiles("testdata/kcp-lab.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := text.Execute(&b, map[string]any{"IP": m.IP, "Cgroup": m.Cgroup()}); err != nil {
		t.Fatal(err)
	}
	return parse[object](t, b.String())
}

// merge merges values into an object: maps are merged, and lists are appended.
func merge(into, from object) {
	for k, v := range from {
		switch v := v.(type) {
		case object:
			if sub, ok := into[k].(object); ok {
				merge(sub, v)
				continue
			}
		case []any:
			if sub, ok := into[k].([]any); ok {
				into[k] = append(sub, v...)
				continue
			}
		}
		into[k] = v
	}
}

// reachable waits until the VIP answers.
func reachable(ctx context.Context, l *lab.Lab) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := wait.Until(ctx, 100*time.Millisecond, func() (bool, error) { return l.Reachable(ctx), nil })
	if err != nil {
		return fmt.Errorf("wait for the VIP to answer: %w", err)
	}
	return nil
}

// keep saves the logs of a failed test.
func keep(t *testing.T, c *kubeadm.Cluster) {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", "..", "reports", "capi-"+c.Lab.Name))
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = c.SaveLogs(dir)
	}
	if err != nil {
		t.Error(err)
	}
	t.Logf("logs are in %s", dir)
}

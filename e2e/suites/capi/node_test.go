package capi_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/vipd-io/vipd/e2e/capi"
	"github.com/vipd-io/vipd/e2e/kubeadm"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// vmTemplate is a template in the vCenter, and older one with an older version of Kubernetes.
const (
	vmTemplate      = "Alma-Clusterconfigtemplate"
	olderVMTemplate = vmTemplate + "-older"
)

// bootTimeout bounds the time until a machine has booted and kubeadm has run there.
const bootTimeout = 5 * time.Minute

// TestNode: CAPV makes the machine of a KubeadmControlPlane from vipd, and a machine of the lab boots
// from exactly what CAPV wrote for the guest. At first the IP pool has no gateway, as many have, and
// kubeadm stops. The doctor says so on the node and in the management cluster, and with the doctor's
// remedy, kubeadm init succeeds, and the VIP answers.
func TestNode(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	l, h := newHypervisor(t, ns)
	objects := clusterOf(t, ns)
	unstructured.RemoveNestedField(objects[poolKind].Object, "spec", "gateway")
	createCluster(t, objects)

	first := applied(t, h, "")
	if first.Err == nil || !strings.Contains(first.Output, `cannot use "0.0.0.0" as the bind address`) {
		t.Fatalf("kubeadm without a default route: %v\n%s", first.Err, first.Output)
	}
	onNode := diagnosis{remedy: make(map[string][]string)}
	out, _ := first.Machine().Run(t.Context(), binaries.Lab.Vipd, "doctor", "--preflight", "--address", vip, "-o", "json") // ends with a status
	onNode.read(t, []byte(out))
	if !slices.Contains(onNode.found, "D01 no gateway delivered") {
		t.Errorf("the doctor on the node finds %q", onNode.found)
	}
	d := diagnose(t, management.Kubeconfig(), ns, dnsName)
	if !slices.Contains(d.found, "D11 no gateway") {
		t.Errorf("the doctor in the management cluster finds %q", d.found)
	}
	apply(t, d.remedy["D11 no gateway"])

	g := applied(t, h, first.VM.UUID)
	if g.Err != nil {
		t.Fatalf("%v\n%s", g.Err, g.Output)
	}
	ctx, cancel := context.WithTimeout(t.Context(), reconcileTimeout)
	defer cancel()
	if err := wait.Until(ctx, 100*time.Millisecond, func() (bool, error) { return l.Reachable(ctx), nil }); err != nil {
		t.Errorf("wait for the VIP to answer: %v", err)
	}
}

// newHypervisor starts a lab in which the machines of a namespace run.
func newHypervisor(t *testing.T, ns string) (*lab.Lab, *capi.Hypervisor) {
	t.Helper()
	l, err := lab.Start(t.Context(), lab.Options{Binaries: binaries.Lab, NetworkOnly: true, Nodes: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			keep(t, l)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if left, err := lab.Left(l.Name); err != nil || len(left) > 0 {
			t.Errorf("left behind: %q, %v", left, err)
		}
	})
	template, err := kubeadm.NewTemplate(t.Context(), l, binaries.Lab, "v")
	if err != nil {
		t.Fatal(err)
	}
	h := &capi.Hypervisor{VCenter: management.VCenter, Templates: map[string]*kubeadm.Template{vmTemplate: template}, Log: t.Logf, Mine: func(vm capi.VM) bool {
		mine, err := machines(t.Context(), ns)
		return err == nil && slices.Contains(mine, vm.Name) // else at the next look
	}}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l, h
}

// applied waits until a guest other than one has applied its user data.
func applied(t *testing.T, h *capi.Hypervisor, other string) *capi.Guest {
	t.Helper()
	g := eventually(t, "a machine", func() (*capi.Guest, error) {
		for _, g := range h.Guests() {
			if g.VM.UUID != other {
				return g, nil
			}
		}
		return nil, errors.New("no machine is on")
	})
	select {
	case <-g.Applied:
	case <-time.After(bootTimeout):
		t.Fatalf("the user data of %s is not applied after %s", g.VM.Name, bootTimeout)
	}
	return g
}

// keep saves the logs of a failed test.
func keep(t *testing.T, l *lab.Lab) {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", "..", "reports", "capi-"+l.Name))
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = kubeadm.SaveLogs(l, dir)
	}
	if err != nil {
		t.Error(err)
	}
	t.Logf("logs are in %s, those of the management cluster in %s", dir, management.Dir)
}

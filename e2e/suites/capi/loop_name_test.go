package capi_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/vipd-io/vipd/e2e/capi"
)

// noSuchHost is what kubeadm on a worker says of a name without a record.
const noSuchHost = "lookup " + dnsName + " on 192.168.35.60:53: no such host"

// TestLoopNameWithoutRecord: workers are to join by a name of the VIP that has no record. kubeadm on the
// worker fails, Cluster API waits for a node that never comes, and the doctor finds the cause wherever
// it is asked. Its remedies, as they are, mend it.
func TestLoopNameWithoutRecord(t *testing.T) {
	if !*flagLoop {
		return
	}
	l := newLoop(t)
	l.create(t)
	create(t, testdata(t, "workers-by-name.yaml", l.ns)...)
	g := l.failedWorker(t)
	if !strings.Contains(g.Output, noSuchHost) {
		t.Errorf("kubeadm on the worker does not say %q:\n%s", noSuchHost, g.Output)
	}
	t.Logf("kubeadm on %s:\n%s", g.VM.Name, g.Output)
	l.awaitCondition(t, g.VM.Name, "Waiting for a Node with spec.providerID vsphere://"+g.VM.UUID+" to exist")

	worker := l.askDoctor(t, g, "--worker")
	first := l.askDoctor(t, l.guest(l.lease(t).holder))
	management := diagnoseBy(t, l.names.IP, l.ns)
	for where, d := range map[string]diagnosis{"on the worker": worker, "on the control-plane node": first, "in the management cluster": management} {
		if !slices.Contains(d.found, "D13 no record") {
			t.Errorf("the doctor %s finds %q", where, d.found)
		}
	}
	if !slices.Contains(worker.found, "D29 failed") {
		t.Errorf("the doctor on the worker finds %q, and not that kubeadm failed", worker.found)
	}

	l.createRecord(t, worker.remedy["D13 no record"])
	apply(t, worker.remedy["D29 failed"], "NAMESPACE", l.ns, "NAME", g.VM.Name)
	l.await(t, "the worker's replacement is ready", 5*time.Minute, func() error { return l.ready(t, "cluster.x-k8s.io", "MachineDeployment", "uat-workers-by-name", 1) })
	for _, on := range l.hypervisor.Guests() {
		mode := []string{"--worker"}
		if on.VM.Name == l.lease(t).holder {
			mode = nil
		}
		if d := l.askDoctor(t, on, mode...); slices.ContainsFunc(d.found, func(f string) bool { return strings.HasPrefix(f, "D13") || strings.HasPrefix(f, "D29") }) {
			t.Errorf("after the remedy, the doctor on %s finds %q", on.VM.Name, d.found)
		}
	}
	l.deleteCluster(t)
}

// failedWorker waits until kubeadm has failed on a worker.
func (l *loop) failedWorker(t *testing.T) *capi.Guest {
	t.Helper()
	g := eventually(t, "a worker", func() (*capi.Guest, error) {
		for _, g := range l.hypervisor.Guests() {
			if strings.HasPrefix(g.VM.Name, "uat-workers-") {
				return g, nil
			}
		}
		return nil, errors.New("no worker is on")
	})
	select {
	case <-g.Applied:
	case <-time.After(bootTimeout):
		t.Fatalf("kubeadm on %s has not ended after %s", g.VM.Name, bootTimeout)
	}
	if g.Err == nil {
		t.Fatalf("kubeadm on %s succeeded without a record of the name:\n%s", g.VM.Name, g.Output)
	}
	return g
}

// awaitCondition waits until a condition of a Machine says something.
func (l *loop) awaitCondition(t *testing.T, name, text string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%q in a condition of %s", text, name), func() (struct{}, error) {
		u := l.object("cluster.x-k8s.io", "Machine")
		err := management.Client.Get(t.Context(), client.ObjectKey{Namespace: l.ns, Name: name}, u)
		conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
		for _, c := range conditions {
			if strings.Contains(fmt.Sprint(c.(object)["message"]), text) {
				return struct{}{}, nil
			}
		}
		return struct{}{}, errors.Join(fmt.Errorf("its conditions are %v", conditions), err)
	})
}

// askDoctor runs the doctor on a machine.
func (l *loop) askDoctor(t *testing.T, g *capi.Guest, mode ...string) diagnosis {
	t.Helper()
	d := diagnosis{remedy: make(map[string][]string)}
	args := append([]string{binaries.Lab.Vipd, "doctor", "--address", vip, "--name", dnsName, "-o", "json"}, mode...)
	out, _ := g.Machine().Run(t.Context(), args...) // findings are an exit status
	t.Logf("vipd %s on %s:", strings.Join(args[1:], " "), g.VM.Name)
	d.read(t, []byte(out))
	return d
}

// recordLine matches the line of a remedy that names a record.
var recordLine = regexp.MustCompile(`^create the record: (\S+)\. A (\S+)$`)

// createRecord does what a remedy says about a record.
func (l *loop) createRecord(t *testing.T, remedy []string) {
	t.Helper()
	for _, line := range remedy {
		m := recordLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		to, err := netip.ParseAddr(m[2])
		if err == nil {
			err = l.names.SetRecord(m[1], to)
		}
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		return
	}
	t.Fatalf("no record in %q", remedy)
}

// diagnoseBy runs the doctor on the management side of a machine with a name server.
func diagnoseBy(t *testing.T, server netip.Addr, ns string) diagnosis {
	t.Helper()
	resolv := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(resolv, []byte("nameserver "+server.String()+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	// In a mount namespace of its own, the command finds that file.
	return runDoctor(t, []string{"unshare", "--mount", "sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec "$@"`, resolv},
		"--management-kubeconfig", management.Kubeconfig(), "--cluster", ns+"/"+uat, "--name", dnsName)
}

package capi_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/vipd-io/vipd/e2e/capi"
)

// Kinds of the objects of a cluster.
const (
	poolKind     = "InClusterIPPool"
	templateKind = "VSphereMachineTemplate"
)

// clusterOf returns the objects of a cluster, by kind.
func clusterOf(t *testing.T, ns string) map[string]*unstructured.Unstructured {
	t.Helper()
	out := make(map[string]*unstructured.Unstructured)
	for _, o := range append(testdata(t, "cluster.yaml", ns), controlPlane(t, ns)) {
		out[o.GetKind()] = o
	}
	return out
}

// createCluster creates these objects; all others of the namespace refer to the Cluster or its parts.
func createCluster(t *testing.T, ns string, objects map[string]*unstructured.Unstructured) {
	t.Helper()
	for _, o := range objects {
		create(t, o)
	}
}

// device returns the network device of the machine template.
func device(t *testing.T, objects map[string]*unstructured.Unstructured) object {
	t.Helper()
	devices, found, err := unstructured.NestedFieldNoCopy(objects[templateKind].Object, "spec", "template", "spec", "network", "devices")
	if !found || err != nil {
		t.Fatalf("no devices, %v", err)
	}
	return devices.([]any)[0].(object)
}

// apply runs the commands of a remedy as they are, but for the gateway, which the doctor cannot know.
func apply(t *testing.T, remedy []string) {
	t.Helper()
	ran := 0
	for _, line := range remedy {
		at := strings.Index(line, "kubectl ")
		if at < 0 {
			continue
		}
		ran++
		command := strings.ReplaceAll(strings.ReplaceAll(line[at:], "GATEWAY", "192.168.35.1"), "kubectl ", kubectl+" ")
		cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+management.Kubeconfig())
		out, err := cmd.CombinedOutput()
		t.Logf("%s\n%s", line[at:], out)
		if err != nil {
			t.Fatalf("%s: %v", line[at:], err)
		}
	}
	if ran == 0 {
		t.Fatalf("no command in %q", remedy)
	}
}

// network returns the network that CAPV wrote for a machine.
func network(t *testing.T, vm capi.VM) capi.Ethernet {
	t.Helper()
	m, err := vm.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	e, err := m.Ethernet()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// machines returns the names of the machines of a namespace.
func machines(ctx context.Context, ns string) (names []string, err error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Group: infrastructure, Version: "v1beta1", Kind: "VSphereVMList"})
	err = management.Client.List(ctx, list, client.InNamespace(ns))
	for _, o := range list.Items {
		names = append(names, o.GetName())
	}
	return names, err
}

// machine waits for a machine of a namespace other than one.
func machine(t *testing.T, ns, other string, on bool) capi.VM {
	t.Helper()
	return eventually(t, fmt.Sprintf("a machine, on: %t", on), func() (capi.VM, error) {
		mine, err := machines(t.Context(), ns)
		all, also := management.VCenter.Machines(t.Context())
		if err := errors.Join(err, also); err != nil {
			return capi.VM{}, err
		}
		for _, vm := range all {
			if slices.Contains(mine, vm.Name) && vm.UUID != other && vm.On == on {
				return vm, nil
			}
		}
		return capi.VM{}, errors.New("there is none")
	})
}

// TestAddresses: faults of pools and templates as the real controllers make them. The doctor's remedy,
// as it is, mends each of them.
func TestAddresses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		fault func(t *testing.T, objects map[string]*unstructured.Unstructured)
		// on: CAPV turns the machine on. log is what CAPV logs.
		on  bool
		log string
		// want is a finding, and remedy what is applied of the remedies.
		want, alsoWant string
		remedy         func(all []string) []string
	}{
		{name: "the template has another gateway, the pool is right", fault: func(t *testing.T, objects map[string]*unstructured.Unstructured) {
			device(t, objects)["gateway4"] = "192.168.35.254"
		}, log: "does not match the Gateway4 already configured", want: "D33", remedy: func(all []string) []string { return all[1:] }},
		{name: "the pool has another gateway, the template is right", fault: func(t *testing.T, objects map[string]*unstructured.Unstructured) {
			objects[poolKind].Object["spec"].(object)["gateway"] = "192.168.35.254"
		}, log: "does not match the Gateway4 already configured", want: "D33", remedy: func(all []string) []string { return []string{all[0], all[3]} }},
		{name: "the pool has the VIP", fault: func(_ *testing.T, objects map[string]*unstructured.Unstructured) {
			objects[poolKind].Object["spec"].(object)["addresses"] = []any{vip + "-192.168.35.110"}
		}, on: true, want: "D11 contains", alsoWant: "D11 handed out"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // the controllers wait longer between two attempts than the attempts take
			ns := newNamespace(t)
			objects := clusterOf(t, ns)
			test.fault(t, objects)
			createCluster(t, ns, objects)
			vm := machine(t, ns, "", test.on)
			if test.on && network(t, vm).Addresses[0].Addr().String() != vip {
				t.Errorf("%s has %+v", vm.Name, network(t, vm))
			}
			if test.log != "" {
				awaitLog(t, "capv", ns, test.log)
			}
			d := diagnose(t, management.Kubeconfig(), ns, dnsName)
			if !slices.Contains(d.found, test.want) || test.alsoWant != "" && !slices.Contains(d.found, test.alsoWant) {
				t.Fatalf("the doctor finds %q", d.found)
			}
			remedy := append(d.remedy[test.want], d.remedy[test.alsoWant]...)
			if test.remedy != nil {
				remedy = test.remedy(remedy)
			}
			apply(t, remedy)
			mended := network(t, machine(t, ns, vm.UUID, true))
			if mended.Gateway4.String() != "192.168.35.1" || mended.Addresses[0].Addr().String() == vip {
				t.Errorf("after the remedy: %+v", mended)
			}
		})
	}
}

// awaitLog waits until a program has logged something about a namespace.
func awaitLog(t *testing.T, program, ns, text string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%q in the log of %s", text, program), func() (struct{}, error) {
		log, err := management.Log(program)
		for line := range strings.Lines(log) {
			if strings.Contains(line, ns) && strings.Contains(line, text) {
				return struct{}{}, nil
			}
		}
		return struct{}{}, errors.Join(errors.New("not yet"), err)
	})
}

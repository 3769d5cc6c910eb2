package capi_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// device returns the network device of the machine template.
func device(t *testing.T, objects map[string]*unstructured.Unstructured) object {
	t.Helper()
	devices, found, err := unstructured.NestedFieldNoCopy(objects[templateKind].Object, "spec", "template", "spec", "network", "devices")
	if !found || err != nil {
		t.Fatalf("no devices, %v", err)
	}
	return devices.([]any)[0].(object)
}

// apply runs the commands of a remedy as they are, but for words in capitals, which the doctor cannot
// know: the gateway, and those that are given with their values.
func apply(t *testing.T, remedy []string, known ...string) {
	t.Helper()
	ran := 0
	for _, line := range remedy {
		at := strings.Index(line, "kubectl ")
		if at < 0 {
			continue
		}
		ran++
		command := strings.NewReplacer(append(known, "GATEWAY", "192.168.35.1", "kubectl ", kubectl+" ")...).Replace(line[at:])
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
			createCluster(t, objects)
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

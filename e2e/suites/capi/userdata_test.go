package capi_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/vipd-io/vipd/e2e/capi"
)

// values are the values that cloud-init knows about a node.
func values(node string) map[string]string {
	return map[string]string{"ds.meta_data.hostname": node, "local_hostname": node}
}

// bootstrapData returns the user data that Cluster API generates for the first machine in a
// namespace.
func bootstrapData(t *testing.T, ns string) string {
	t.Helper()
	return eventually(t, "bootstrap data", func() (string, error) {
		machines := &unstructured.UnstructuredList{}
		machines.SetGroupVersionKind(schema.GroupVersionKind{Group: "cluster.x-k8s.io", Version: "v1beta2", Kind: "MachineList"})
		if err := management.Client.List(t.Context(), machines, client.InNamespace(ns)); err != nil {
			return "", err
		}
		if len(machines.Items) == 0 {
			return "", errors.New("there is no Machine")
		}
		name, found, err := unstructured.NestedString(machines.Items[0].Object, "spec", "bootstrap", "dataSecretName")
		if !found || err != nil {
			return "", fmt.Errorf("the Machine has no bootstrap data, %w", err)
		}
		var secret corev1.Secret
		if err := management.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: name}, &secret); err != nil {
			return "", err
		}
		return string(secret.Data["value"]), nil
	})
}

// TestUserData tests the whole path: from vipd's KubeadmControlPlane, through Cluster API's
// controllers, to the user data of the first node.
func TestUserData(t *testing.T) {
	t.Parallel()
	for _, api := range apis {
		t.Run(api, func(t *testing.T) {
			t.Parallel()
			ns := newNamespace(t)
			create(t, testdata(t, "cluster.yaml", ns)...)
			create(t, inNamespace(t, kcp(t, "full", api, "--name", "uat", "--namespace", ns, "--dns-name", dnsName), ns))
			checkUserData(t, bootstrapData(t, ns))
		})
	}
}

func checkUserData(t *testing.T, text string) {
	t.Helper()
	u, err := capi.ParseUserData(text, values("n1"))
	if err != nil {
		t.Fatal(err)
	}
	f, _ := u.File(podPath)
	if f.Content != pod(t) {
		t.Errorf("%s:\n%s", podPath, f.Content)
	}
	if f.Permissions != "0600" || f.Owner != "root:root" || f.Encoding != "" || f.Append {
		t.Errorf("%s: permissions %s, owner %s, encoding %q, append %t", podPath, f.Permissions, f.Owner, f.Encoding, f.Append)
	}
	// The inputs of the pod's credentials exist before any command runs.
	for _, path := range []string{"/etc/kubernetes/pki/ca.crt", "/etc/kubernetes/pki/ca.key"} {
		if f, _ := u.File(path); !strings.HasPrefix(f.Content, "-----BEGIN ") {
			t.Errorf("%s: %q", path, f.Content)
		}
	}
	config, _ := u.File("/run/kubeadm/kubeadm.yaml")
	for _, want := range []string{"- " + vip + "\n", "- " + dnsName + "\n", "controlPlaneEndpoint: " + vip + ":6443"} {
		if !strings.Contains(config.Content, want) {
			t.Errorf("kubeadm's configuration has no %q:\n%s", want, config.Content)
		}
	}
	// The only commands are those of CAPV's template, and kubeadm.
	if n := len(u.RunCmd); n != 4 || !strings.HasPrefix(u.RunCmd[n-1], "kubeadm init --config /run/kubeadm/kubeadm.yaml") {
		t.Errorf("commands = %q", u.RunCmd)
	}
	if i := slices.IndexFunc(u.RunCmd, func(c string) bool { return strings.Contains(c, "vipd") }); i >= 0 {
		t.Errorf("a command for vipd: %s", u.RunCmd[i])
	}
}

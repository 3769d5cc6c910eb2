package capi_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	"github.com/vipd-io/vipd/e2e/capi"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

const (
	vip     = "192.168.35.100"
	dnsName = "kube-api-server.uat.local"
	podPath = "/etc/kubernetes/manifests/vipd.yaml"
	// reconcileTimeout bounds the time until controllers have reconciled.
	reconcileTimeout = 3 * time.Minute
)

// infrastructure is the API group of CAPV.
const infrastructure = "infrastructure.cluster.x-k8s.io"

// apis are the versions of Cluster API's objects.
var apis = []string{"v1beta1", "v1beta2"}

var (
	binaries   capi.Binaries
	management *capi.Management
	vipd       string
	kubectl    string
)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard()) // this is envtest's log; errors are returned
	code, err := run(m)
	if err != nil {
		fmt.Fprintf(os.Stderr, "capi: %v\n", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	binaries, err = capi.Build(ctx)
	if err != nil {
		return 1, err
	}
	if ended, code, err := capi.Isolate(); ended || err != nil {
		return code, err
	}
	vipd, kubectl = binaries.Lab.Vipd, binaries.Kubectl()
	release, err := lab.Beside(ctx)
	if err != nil {
		return 1, err
	}
	defer release()
	dir, err := os.MkdirTemp("", "vipd-capi-")
	if err != nil {
		return 1, err
	}
	begin := time.Now()
	if management, err = capi.Start(ctx, binaries, dir); err != nil {
		return 1, err
	}
	fmt.Fprintf(os.Stderr, "management cluster started in %v\n", time.Since(begin).Round(time.Millisecond))
	code = m.Run()
	if err := management.Close(); err != nil {
		return 1, err
	}
	if code != 0 {
		fmt.Fprintf(os.Stderr, "its logs are in %s\n", dir)
		return code, nil
	}
	return code, os.RemoveAll(dir)
}

// manifest returns the output of `vipd manifest`.
func manifest(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), vipd, append([]string{"manifest"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("vipd %v: %v\n%s", cmd.Args[1:], err, stderr.Bytes())
	}
	return string(out)
}

// pod returns the static pod for an address.
func pod(t *testing.T) string {
	t.Helper()
	return manifest(t, "pod", "--address", vip)
}

// kcp returns the parts for a KubeadmControlPlane.
func kcp(t *testing.T, as, api string, more ...string) string {
	t.Helper()
	args := []string{"kcp", "--as", as, "--api", api}
	if as != "clusterclass" {
		args = append(args, "--address", vip)
	}
	return manifest(t, append(args, more...)...)
}

// parse reads one YAML document.
func parse[T any](t *testing.T, text string) (out T) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	return out
}

type object = map[string]any

// testdata reads the documents of a file, for a namespace.
func testdata(t *testing.T, name, namespace string) (out []*unstructured.Unstructured) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	all := strings.NewReplacer("${VSPHERE_SERVER}", management.VCenter.Server, "${KUBERNETES_VERSION}", lab.KubernetesVersion()).Replace(string(b))
	for text := range strings.SplitSeq(all, "\n---\n") {
		out = append(out, inNamespace(t, text, namespace))
	}
	return out
}

func inNamespace(t *testing.T, text, namespace string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{Object: parse[object](t, text)}
	u.SetNamespace(namespace)
	return u
}

// newNamespace creates a namespace for a test.
func newNamespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	if err := management.Client.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

// strict makes the API server refuse unknown fields.
var strict = client.FieldValidation("Strict")

// create sends objects to the API server, and returns its errors.
func create(t *testing.T, objects ...*unstructured.Unstructured) {
	t.Helper()
	for _, o := range objects {
		if err := management.Client.Create(t.Context(), o, strict); err != nil {
			t.Fatalf("create %s %s: %v", o.GetKind(), o.GetName(), err)
		}
	}
}

// eventually waits until found is no longer empty.
func eventually[T any](t *testing.T, what string, look func() (T, error)) (out T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), reconcileTimeout)
	defer cancel()
	var last error
	err := wait.Until(ctx, 200*time.Millisecond, func() (bool, error) {
		out, last = look()
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("wait for %s: %v (last: %v); logs are in %s", what, err, last, management.Dir)
	}
	return out
}

// get returns the present state of a KubeadmControlPlane.
func get(t *testing.T, namespace, name string) *unstructured.Unstructured {
	t.Helper()
	kcp := &unstructured.Unstructured{}
	kcp.SetGroupVersionKind(schema.GroupVersionKind{Group: "controlplane.cluster.x-k8s.io", Version: "v1beta2", Kind: "KubeadmControlPlane"})
	if err := management.Client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, kcp); err != nil {
		t.Fatal(err)
	}
	return kcp
}

// file returns the file for a path in a KubeadmControlPlane.
func file(t *testing.T, kcp *unstructured.Unstructured, path string) object {
	t.Helper()
	files, _, err := unstructured.NestedSlice(kcp.Object, "spec", "kubeadmConfigSpec", "files")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f, ok := f.(object); ok && f["path"] == path {
			return f
		}
	}
	t.Fatalf("no file %s in %v", path, files)
	return nil
}

// checkKCP checks that a KubeadmControlPlane contains vipd, as the API server returned it.
func checkKCP(t *testing.T, kcp *unstructured.Unstructured, sans ...string) {
	t.Helper()
	f := file(t, kcp, podPath)
	if f["content"] != pod(t) {
		t.Errorf("content:\n%v", f["content"])
	}
	if f["permissions"] != "0600" || f["owner"] != "root:root" {
		t.Errorf("permissions %v, owner %v", f["permissions"], f["owner"])
	}
	got, _, err := unstructured.NestedStringSlice(kcp.Object, "spec", "kubeadmConfigSpec", "clusterConfiguration", "apiServer", "certSANs")
	if err != nil || fmt.Sprint(got) != fmt.Sprint(sans) {
		t.Errorf("certSANs = %v, %v, want %v", got, err, sans)
	}
}

package capi_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocs runs the commands in docs/cluster-api.md, line by line as written there, in a management
// cluster that fulfils the preconditions of the document.
func TestDocs(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/cluster-api.md")
	if err != nil {
		t.Fatal(err)
	}
	ns := newNamespace(t)
	uat := testdata(t, "kcp-capv-v1beta2.yaml", ns)[0]
	uat.SetName("uat")
	create(t, uat)

	bin, dir := t.TempDir(), t.TempDir()
	for name, program := range map[string]string{"vipd": vipd, "kubectl": kubectl} {
		if err := os.Symlink(program, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	env := append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "KUBECONFIG="+kubeconfigFor(t, ns))
	commands := regexp.MustCompile(`(?m)^\$ (.+)$`).FindAllStringSubmatch(string(doc), -1)
	if len(commands) < 6 {
		t.Errorf("the document shows %d commands", len(commands))
	}
	for _, c := range commands {
		line := strings.Replace(c[1], "--as full", "--as full --namespace "+ns, 1) // the namespace of the test, which the document does not have
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", line)
		cmd.Dir, cmd.Env = dir, env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("$ %s\n%v\n%s", line, err, out)
		}
	}
	for _, name := range []string{"uat", "uat-2"} {
		if f := file(t, get(t, ns, name), podPath); f["content"] != pod(t) {
			t.Errorf("%s: content:\n%v", name, f["content"])
		}
	}
}

// kubeconfigFor returns a kubeconfig with the namespace of a test.
func kubeconfigFor(t *testing.T, ns string) string {
	t.Helper()
	b, err := os.ReadFile(management.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), kubectl, "config", "set-context", "--current", "--namespace", ns)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

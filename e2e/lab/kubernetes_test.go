package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestKubernetesVersions: the modules pin the versions that the lab names, and nothing else is there.
func TestKubernetesVersions(t *testing.T) {
	modules, err := filepath.Glob("../binaries/*/go.mod")
	if err != nil || len(modules) != len(kubernetes) {
		t.Fatalf("%v, %v, want %d modules", modules, err, len(kubernetes))
	}
	for minor, version := range kubernetes {
		b, err := os.ReadFile(filepath.Join("../binaries", minor, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		staging := "v0" + strings.TrimPrefix(version, "v1")
		for _, want := range []string{"\tk8s.io/kubernetes " + version, "k8s.io/apiserver => k8s.io/apiserver " + staging} {
			if !strings.Contains(string(b), want) {
				t.Errorf("e2e/binaries/%s/go.mod has no %q", minor, want)
			}
		}
	}
	if kubernetes[newestKubernetes] == "" {
		t.Errorf("no version %s", newestKubernetes)
	}
}

func TestChosenKubernetes(t *testing.T) {
	for minor, want := range map[string]string{"": kubernetes[newestKubernetes], "1.35": "v1.35.4", "1.2": ""} {
		t.Setenv(kubernetesVariable, minor)
		if got := KubernetesVersion(); got != want {
			t.Errorf("K8S=%s: %q, want %q", minor, got, want)
		}
	}
	t.Setenv(kubernetesVariable, "1.2")
	if _, err := Build(t.Context(), BuildOptions{Cache: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "K8S=1.2") {
		t.Errorf("Build for another version: %v", err)
	}
}

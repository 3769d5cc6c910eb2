package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/vipd-io/vipd/pkg/election"
)

// substituted are the values that clusterctl and commands on the node insert into manifests.
var substituted = strings.NewReplacer("${CONTROL_PLANE_ENDPOINT_IP}", "192.168.35.100", "{{ .controlPlaneIpAddr }}", "192.168.35.100",
	"{{ .endpoint.host }}", "192.168.35.100", "{{ .net.interface }}", "eth0",
	"control_plane_endpoint_ip", "192.168.35.100", "control_plane_endpoint_port", "6443")

// defaults match clusterctl's default values.
var defaults = regexp.MustCompile(`\$\{\w+:?=([^}]*)\}`)

// TestMigratedPodsRun: kubelet accepts the migrated pods, and vipd accepts their settings, after
// the placeholders are replaced.
func TestMigratedPodsRun(t *testing.T) {
	paths, err := filepath.Glob("../../internal/migrate/testdata/*.want.yaml")
	if err != nil || len(paths) < 10 {
		t.Fatalf("%d files: %v", len(paths), err)
	}
	ran := 0
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range pods(string(b)) {
			text := defaults.ReplaceAllString(substituted.Replace(found), "$1")
			var pod corev1.Pod
			if err := yaml.UnmarshalStrict([]byte(text), &pod); err != nil {
				t.Fatalf("%s: %v\n%s", path, err, text)
			}
			if pod.Spec.Containers[0].Name != "vipd" {
				continue
			}
			ran++
			c := settingsOf(t, pod.Spec.Containers[0])
			if _, err := election.NewTiming(c.LeaseDuration, c.RenewInterval); err != nil || c.LeaseName == "" {
				t.Errorf("%s: %+v: %v", path, c, err)
			}
		}
	}
	if ran < 10 {
		t.Errorf("only %d pods were looked at", ran)
	}
}

// pods extracts the pods from a text, without their indentation.
func pods(text string) (out []string) {
	lines := strings.Split(text, "\n")
	for i := 0; i+1 < len(lines); i++ {
		indent := len(lines[i]) - len(strings.TrimLeft(lines[i], " "))
		if strings.TrimSpace(lines[i]) != "apiVersion: v1" || strings.TrimSpace(lines[i+1]) != "kind: Pod" {
			continue
		}
		var pod []string
		for _, line := range lines[i:] {
			if line != "" && len(line)-len(strings.TrimLeft(line, " ")) < indent || strings.HasPrefix(line, "---") {
				break
			}
			pod = append(pod, strings.TrimPrefix(line, strings.Repeat(" ", indent)))
		}
		out = append(out, strings.Join(pod, "\n"))
	}
	return out
}

// TestMigratingDocument runs the vipd commands in docs/migrating-from-kube-vip.md in order, and
// compares their output.
func TestMigratingDocument(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join(repository, "docs/migrating-from-kube-vip.md"))
	if err != nil {
		t.Fatal(err)
	}
	data, err := filepath.Abs("../../internal/migrate/testdata")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	for name, from := range map[string]string{"kube-vip.yaml": "pod.yaml", "cluster.yaml": "capv-v1beta1.yaml", "clusterclass.yaml": "capv-clusterclass.yaml",
		"topology.yaml": "capv-topology.yaml"} {
		b, err := os.ReadFile(filepath.Join(data, from))
		if err == nil {
			err = os.WriteFile(name, b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	ran := 0
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(string(doc), -1) {
		for _, shown := range regexp.MustCompile(`(?m)^# vipd ([^>\n]*)(>.*)?\n((?:[^#\n].*\n)*)`).FindAllStringSubmatch(block[1], -1) {
			var out, stdout bytes.Buffer
			status := Execute(t.Context(), strings.Fields(shown[1]), &stdout, &out)
			if shown[2] == "" {
				out.Write(stdout.Bytes())
			}
			if status != exitOK || out.String() != shown[3] {
				t.Errorf("vipd %s: status %d, prints\n%sthe document says\n%s", shown[1], status, out.String(), shown[3])
			}
			ran++
		}
	}
	if ran < 3 {
		t.Errorf("only %d commands", ran)
	}
}

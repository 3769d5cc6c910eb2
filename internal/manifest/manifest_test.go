package manifest

import (
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// pods are the smallest pod and one with all settings.
var pods = map[string]Pod{
	"own credentials": {Image: "vipd:1", Address: "192.168.35.100"},
	"admin.conf": {Name: "kube-vip", Image: "vipd:1", Address: "${CONTROL_PLANE_ENDPOINT_IP}",
		Kubeconfigs: []string{"/etc/kubernetes/admin.conf", "/etc/kubernetes/super-admin.conf"},
		Settings:    []Setting{{"interface", `${VIP_NETWORK_INTERFACE:=""}`}, {"port", "6443"}, {"lease-duration", "15s"}}},
}

func TestPod(t *testing.T) {
	for name, p := range pods {
		t.Run(name, func(t *testing.T) {
			text := p.YAML()
			if len(text) >= MaxContent {
				t.Errorf("%d bytes", len(text))
			}
			var got struct {
				Spec struct {
					Containers []struct {
						Env []struct{ Name, Value string }
					}
				}
			}
			if err := yaml.Unmarshal([]byte(text), &got); err != nil {
				t.Fatal(err)
			}
			env := make(map[string]string)
			for _, e := range got.Spec.Containers[0].Env {
				env[e.Name] = e.Value
			}
			if env["address"] != p.Address {
				t.Errorf("address = %q, want %q", env["address"], p.Address)
			}
			for _, s := range p.Settings {
				if env[envName(s.Name)] != s.Value {
					t.Errorf("%s = %q, want %q", s.Name, env[envName(s.Name)], s.Value)
				}
			}
		})
	}
}

// TestDropsIntoCAPV: CAPV's ClusterClass inserts the address with this expression.
func TestDropsIntoCAPV(t *testing.T) {
	text := Pod{Image: "vipd:1", Address: "192.0.2.1"}.YAML()
	out := regexp.MustCompile(`(name: address\n +value:).*`).ReplaceAllString(text, "$1 192.168.35.100")
	if want := (Pod{Image: "vipd:1", Address: "192.168.35.100"}).YAML(); out != want {
		t.Errorf("after CAPV's replacement:\n%s", out)
	}
}

func TestScalar(t *testing.T) {
	for _, s := range []string{"", " ", "a", "vipd:latest", "ghcr.io/a/b@sha256:0a", "6443", "0x1f", "1e3", "1_000", "true", "No", "y", "null", "~",
		"192.168.35.100", "1.5", "12:30", "a: b", "a:", "a #b", "- a", "{a}", "[a]", "*a", "&a", "!a", "%a", "@a", "`a`", `"a"`, "'a'", "a\nb", "é", "${A}",
		"$${A}", `${A:=""}`, "{{ .a }}", ".5", ".inf", "-1", "<a>", "3s"} {
		var got map[string]any
		if err := yaml.Unmarshal([]byte("k: "+Scalar(s)+"\n"), &got); err != nil || got["k"] != s {
			t.Errorf("%q is written as %s and read as %#v, %v", s, Scalar(s), got["k"], err)
		}
	}
}

// TestEnvValue: whatever clusterctl substitutes for a placeholder, the value of a variable is a
// string; kubelet would reject the pod otherwise.
func TestEnvValue(t *testing.T) {
	defaults := regexp.MustCompile(`\$\{\w+:?=([^}]*)\}`)
	for value, want := range map[string]string{"eth0": "eth0", "6443": "6443", "${PORT=6443}": "6443", `${NIC:=""}`: "", `${NIC:='eth0'}`: "eth0",
		"${LEASE:=15}s": "15s", "true": "true", "127.0.0.1:6443": "127.0.0.1:6443", "${ON:=true}": "true"} {
		var got map[string]any
		substituted := defaults.ReplaceAllString(envValue(value), "$1")
		if err := yaml.Unmarshal([]byte("k: "+substituted+"\n"), &got); err != nil || got["k"] != want {
			t.Errorf("%q is written as %s, becomes %s and is read as %#v, %v", value, envValue(value), substituted, got["k"], err)
		}
	}
}

func FuzzScalar(f *testing.F) {
	f.Add("a: b")
	f.Fuzz(func(t *testing.T, s string) {
		var got map[string]any
		if err := yaml.Unmarshal([]byte("k: "+Scalar(s)+"\n"), &got); err != nil || got["k"] != strings.ToValidUTF8(s, "\ufffd") {
			t.Errorf("%q is written as %s and read as %#v, %v", s, Scalar(s), got["k"], err)
		}
	})
}

func TestLint(t *testing.T) {
	for _, tt := range []struct{ content, err string }{
		{"value: 192.168.35.100", ""},
		{"echo $HOME $${HOME} $$${VIP}", ""},
		{"value: ${VIP}", ""},
		{"value: ${VIP} ${OTHER}", "line 1 has ${OTHER}"},
		{"a\nb: {{ x }}", `line 2 has "{{"`},
		{"a: ${#b[@]}", `has "{#"`},
		{"{% if %}", `has "{%"`},
		{strings.Repeat("ä", MaxContent), ""},
		{strings.Repeat("a", MaxContent+1), "10241 characters"},
	} {
		err := Lint("f", tt.content, "${VIP}")
		if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("Lint(%.40q) = %v, want %q", tt.content, err, tt.err)
		}
	}
}

// TestKCP parses each form as YAML, and the pod in it as a pod.
func TestKCP(t *testing.T) {
	for _, api := range APIs {
		for _, form := range Forms {
			t.Run(string(form)+" "+api, func(t *testing.T) {
				k := KCP{Pod: pods["own credentials"], DNSName: "kube-api-server.uat.local", API: api, Name: "cp", Namespace: "default", Version: "v1.36.3"}
				text, err := k.YAML(form)
				if err != nil {
					t.Fatal(err)
				}
				var got any
				if err := yaml.Unmarshal([]byte(text), &got); err != nil {
					t.Fatalf("%v:\n%s", err, text)
				}
				if form == ClusterClass {
					text = render(t, got)
					if err := yaml.Unmarshal([]byte(text), &got); err != nil {
						t.Fatalf("%v:\n%s", err, text)
					}
				}
				if content := find(got, "content"); content != k.Pod.YAML() {
					t.Errorf("content:\n%v", content)
				}
			})
		}
	}
	if _, err := (KCP{Pod: Pod{Image: "${IMAGE}", Address: "192.0.2.1"}, API: "v1beta2"}).YAML(Files); err != nil {
		t.Errorf("a placeholder that was asked for: %v", err)
	}
}

// render returns what a ClusterClass makes of the file's template.
func render(t *testing.T, class any) string {
	t.Helper()
	for _, p := range class.([]any)[0].(map[string]any)["definitions"].([]any)[0].(map[string]any)["jsonPatches"].([]any) {
		if text, _ := find(p, "template").(string); strings.Contains(text, "kind: Pod") {
			return strings.ReplaceAll(text, addressVariable, "192.168.35.100")
		}
	}
	t.Fatal("no template of the file")
	return ""
}

// find returns the first value of a key, at any depth.
func find(in any, key string) any {
	switch v := in.(type) {
	case map[string]any:
		if found, ok := v[key]; ok {
			return found
		}
		for _, each := range v {
			if found := find(each, key); found != nil {
				return found
			}
		}
	case []any:
		for _, each := range v {
			if found := find(each, key); found != nil {
				return found
			}
		}
	}
	return nil
}

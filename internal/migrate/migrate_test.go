package migrate

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// options are the options of the tests: the longest lease is a minute, as in pkg/election.
var options = Options{Image: "ghcr.io/vipd-io/vipd:v1.0.0", Timing: func(lease, _ time.Duration) error {
	if lease > time.Minute {
		return fmt.Errorf("lease duration %s: 1m0s at most", lease)
	}
	return nil
}}

// golden compares a text with a file, or writes the file with -update.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got); -update rewrites the file:\n%s", path, diff)
	}
}

// inputs returns the files of testdata that match a pattern.
func inputs(t testing.TB, pattern string) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	out := make(map[string]string)
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(path, ".want.yaml") {
			out[path] = string(b)
		}
	}
	return out
}

func printed(r Result) string {
	var b strings.Builder
	for _, n := range r.Notes {
		kind := "note"
		if n.Loss {
			kind = "loss"
		}
		fmt.Fprintf(&b, "%d: %s: %s\n", n.Line, kind, n.Text)
	}
	return b.String()
}

// TestMigrate compares results and notes with golden files.
func TestMigrate(t *testing.T) {
	for path, src := range inputs(t, "*.yaml") {
		name := strings.TrimSuffix(filepath.Base(path), ".yaml")
		t.Run(name, func(t *testing.T) {
			r, err := Migrate(src, options)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", name+".want.yaml"), r.Out)
			golden(t, filepath.Join("testdata", name+".notes"), printed(r))
			holds(t, src, r)
		})
	}
}

// TestRefused: the reason and the remedy for each file.
func TestRefused(t *testing.T) {
	var got strings.Builder
	for path, src := range inputs(t, "refused/*.*") {
		r, err := Migrate(src, options)
		var refusal *Refusal
		if !errors.As(err, &refusal) {
			t.Errorf("%s: %v, want a refusal; it came to:\n%s", path, err, r.Out)
			continue
		}
		if refusal.Reason == "" || refusal.Way == "" || r.Out != "" || r.Changed() {
			t.Errorf("%s: %+v, %+v", path, refusal, r)
		}
		fmt.Fprintf(&got, "%s:%d: %s\n", filepath.Base(path), refusal.Line, refusal)
	}
	lines := strings.SplitAfter(got.String(), "\n")
	slices.Sort(lines)
	golden(t, "testdata/refused.txt", strings.Join(lines, ""))
}

// holds checks what is true for each result: nothing changed outside the edits, and migrating the
// result changes nothing.
func holds(t *testing.T, src string, r Result) {
	t.Helper()
	in, out := src, r.Out
	at := 0
	for _, e := range r.Edits {
		kept := in[at:e.Start]
		if !strings.HasPrefix(out, kept) || !strings.HasPrefix(out[len(kept):], e.Text) {
			t.Fatalf("bytes %d to %d are not as they were", at, e.Start)
		}
		out = out[len(kept)+len(e.Text):]
		at = e.End
	}
	if in[at:] != out {
		t.Fatalf("bytes from %d on are not as they were", at)
	}
	again, err := Migrate(r.Out, options)
	if err != nil || again.Changed() || again.Out != r.Out {
		t.Fatalf("migrated again: %v, edits %v\n%s", err, again.Edits, r.Out)
	}
}

// TestKept: what another kube-vip may still need stays.
func TestKept(t *testing.T) {
	const helpers = `kind: KubeadmControlPlane
spec:
  kubeadmConfigSpec:
    files:
    - path: /etc/kube-vip.hosts
      content: 127.0.0.1 kubernetes
    preKubeadmCommands:
    - sed -i 's#admin.conf#super-admin.conf#' /etc/kubernetes/manifests/kube-vip.yaml
---
`
	const vipd = `kind: Pod
spec:
  containers:
  - name: vipd
    image: vipd:1
`
	const admin = "  volumes:\n  - name: k\n    hostPath: {path: /etc/kubernetes/admin.conf}\n"
	announcer := strings.Replace(inputs(t, "refused/daemonset.yaml")["testdata/refused/daemonset.yaml"], `{name: cp_enable, value: "true"}`, `{name: svc_enable, value: "true"}`, 1)
	for name, c := range map[string]struct {
		src       string
		elsewhere bool
		changed   bool
		err       error
	}{
		"no manifest here":                    {src: helpers, err: ErrNoKubeVip},
		"in another file":                     {src: helpers, elsewhere: true, changed: true},
		"vipd is here, kube-vip's files too":  {src: helpers + vipd, changed: true},
		"vipd with kubeadm's credentials":     {src: helpers + vipd + admin},
		"a DaemonSet for Services stays":      {src: announcer},
		"it stays beside what is migrated":    {src: announcer + "---\n" + inputs(t, "pod.yaml")["testdata/pod.yaml"], changed: true},
		"vipd's image in kube-vip's manifest": {src: strings.ReplaceAll(inputs(t, "capv-v1beta2.yaml")["testdata/capv-v1beta2.yaml"], "kube-vip/kube-vip:v0.6.4", "vipd-io/vipd:v1"), changed: true},
	} {
		t.Run(name, func(t *testing.T) {
			o := options
			if c.elsewhere {
				o.elsewhere = []replaced{{path: kubeVipPath, renamed: vipdPath}}
			}
			r, err := Migrate(c.src, o)
			if !errors.Is(err, c.err) || r.Changed() != c.changed {
				t.Fatalf("changed: %v, %v; want %v, %v\n%s", r.Changed(), err, c.changed, c.err, r.Out)
			}
			if strings.Contains(r.Out, "super-admin") != (!c.changed && err == nil && strings.Contains(c.src, "super-admin")) {
				t.Errorf("super-admin.conf in the result:\n%s", r.Out)
			}
			if strings.Contains(c.src, "DaemonSet") && !strings.Contains(r.Out, announcer) {
				t.Errorf("the DaemonSet is not as it was:\n%s", r.Out)
			}
		})
	}
}

// TestLineBreaks: a file with Windows line breaks keeps them.
func TestLineBreaks(t *testing.T) {
	for path, src := range inputs(t, "*.yaml") {
		want, err := Migrate(src, options)
		if err != nil {
			t.Fatal(err)
		}
		crlf := strings.ReplaceAll(src, "\n", "\r\n")
		got, err := Migrate(crlf, options)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.ReplaceAll(want.Out, "\n", "\r\n"), got.Out); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
		holds(t, crlf, got)
	}
}

// TestOnlyPrepares: a command is removed only if it does nothing else.
func TestOnlyPrepares(t *testing.T) {
	const sed = "sed -i 's#path: /etc/kubernetes/admin.conf#path: /etc/kubernetes/super-admin.conf#' /etc/kubernetes/manifests/kube-vip.yaml"
	for command, want := range map[string]bool{
		sed: true,
		"if [ -f /run/kubeadm/kubeadm.yaml ]; then " + sed + "; fi": true,
		"#!/bin/bash\nset -e\nV=\"$(kubeadm version -o short | cut -d '.' -f 2)\"\nif [[ $V -lt 29 ]]; then exit 0; fi\n" + strings.Replace(sed, " /etc/kubernetes/m", " \\\n  /etc/kubernetes/m", 1) + "\n": true,
		"/etc/kube-vip-prepare.sh":                                                                             true,
		"chmod +x /etc/kube-vip-prepare.sh && /etc/kube-vip-prepare.sh":                                        true,
		"/etc/kube-vip-prepare.sh && systemctl restart chronyd":                                                false,
		"KUBECONFIG=/etc/kubernetes/admin.conf kubectl get no; " + sed:                                         false,
		"mkdir -p /var/lib/etcd; " + sed:                                                                       false,
		"sed -i 's/control_plane_endpoint_ip/1/' /etc/kubernetes/manifests/kube-vip.yaml":                      false,
		"sed -i 's#admin.conf#other.conf#' /etc/kubernetes/manifests/etcd.yaml":                                false,
		"sed -i 's|admin.conf|super-admin.conf|g' /etc/kubernetes/manifests/kube-vip.yaml 2>/dev/null || true": false,
		"sed -i 's|/admin.conf|/super-admin.conf|g' /etc/kubernetes/manifests/kube-vip.yaml 2>/dev/null":       true,
		`sed -i -e s/\/etc\/kubernetes\/admin\.conf/\/root\/super-admin.conf/ /srv/kube-vip.yaml # one`:        false,
		`sed -i -e s/\/etc\/kubernetes\/admin\.conf/\/root\/super-admin.conf/ /srv/kube-vip.yaml`:              true,
		"sed -i -e 's#admin.conf#super-admin.conf#' -e 's/VIP/10.1.1.1/' /srv/kube-vip.yaml":                   false,
		"sed -i 's#admin.conf#super-admin.conf#; s/VIP/10.1.1.1/' /srv/kube-vip.yaml":                          false,
		"sed -i 's#admin.conf#super-admin.conf#\ns/VIP/10.1.1.1/' /srv/kube-vip.yaml":                          false,
		sed + " /etc/kubernetes/manifests/audit.yaml":                                                          false,
		sed + " | tee /var/log/audit":                                                                          false,
		sed + " & reboot":                                                                                      false,
		sed + " > /srv/copy":                                                                                   false,
		"X=$(touch /srv/ready)\n" + sed:                                                                        false,
		"X=`touch /srv/ready`\n" + sed:                                                                         false,
		"if [ \"$(rm -v /srv/x)\" ]; then " + sed + "; fi":                                                     false,
		"X=\"$(printf '%s)' \"$(uname -r)\" | cut -d . -f 1)\"\n" + sed:                                        true,
		"# it's for kubeadm's first node\n" + sed:                                                              true,
		"grep -q init /etc/kubeadm.sh > /srv/found && " + sed:                                                  false,
		"/etc/kube-vip-prepare.sh | logger":                                                                    false,
		"if true; then exit 0; fi":                                                                             false,
		"":                                                                                                     false,
	} {
		if got := onlyPrepares(command, []string{"/etc/kube-vip-prepare.sh"}); got != want {
			t.Errorf("%v, want %v: %s", got, want, command)
		}
	}
}

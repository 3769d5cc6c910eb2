// Package hack tests the scripts that a newcomer runs first.
package hack

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// inside runs a script in a mount namespace in which changes of /usr/sbin leave no trace, after
// some preparation. It needs root.
func inside(t *testing.T, prepare string, env []string, script string) (output string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-ec", `mount -t tmpfs tmpfs "$1"; mkdir "$1/up" "$1/work"
		mount -t overlay overlay -o "lowerdir=/usr/sbin,upperdir=$1/up,workdir=$1/work" /usr/sbin
		`+prepare+`
		`+script, "sh", t.TempDir())
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// standIn puts simulated programs first on PATH. apt-get is one of them: a test installs nothing
// here.
func standIn(t *testing.T, programs map[string]string) (env []string, dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, script := range programs {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/bash\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "AT=" + dir}, dir
}

// The machine has no firewalld: its installation would start and enable firewalld.
var (
	without  = "rm -f /usr/sbin/firewalld; rm -f /usr/sbin/policy-rc.d"
	packages = map[string]string{
		"apt-cache": `echo "  Candidate: 1.2.3"`,
		"apt-get": `case "$*" in
*--print-uris*) ;;
*\ install\ *) echo "$*" >>"$AT/installed"
	/usr/sbin/policy-rc.d firewalld start; echo $? >>"$AT/policy"
	touch "$AT/enabled" ;;
esac`,
		"systemctl": `case "$1" in
list-unit-files) echo "ssh.service enabled"; [[ ! -e $AT/enabled ]] || echo "firewalld.service enabled" ;;
*) echo "$*" >>"$AT/disabled" ;;
esac`,
	}
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	}
	return strings.TrimSpace(string(b))
}

// TestInstallStartsNoService: an installation starts no service, neither at once nor at boot, and
// leaves no policy behind.
func TestInstallStartsNoService(t *testing.T) {
	env, dir := standIn(t, packages)
	out, err := inside(t, without, env, "./install-deps test-unit; ls /usr/sbin/policy-rc.d 2>&1 || true")
	if err != nil || !strings.Contains(out, "cannot access") {
		t.Errorf("%v, and the policy is still there: %s", err, out)
	}
	installed := read(t, filepath.Join(dir, "installed"))
	if !strings.Contains(installed, " firewalld") || !strings.Contains(installed, "Acquire::Retries=") || !strings.Contains(installed, "--no-install-recommends") {
		t.Errorf("installed by: apt-get %s", installed)
	}
	if got := read(t, filepath.Join(dir, "policy")); got != "101" {
		t.Errorf("policy-rc.d says %s during the installation, want 101", got)
	}
	if got := read(t, filepath.Join(dir, "disabled")); got != "disable firewalld.service" {
		t.Errorf("systemctl %s, want it to disable firewalld alone", got)
	}
}

// TestInstallKeepsAPolicy: a policy of an administrator stays.
func TestInstallKeepsAPolicy(t *testing.T) {
	env, _ := standIn(t, packages)
	out, err := inside(t, without+"; printf '#!/bin/sh\\nexit 104\\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d", env,
		"./install-deps test-unit; cat /usr/sbin/policy-rc.d")
	if err != nil || !strings.Contains(out, "exit 104") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestInstallFails: the output contains the error of apt-get, and no policy is left behind.
func TestInstallFails(t *testing.T) {
	broken := map[string]string{"apt-cache": packages["apt-cache"], "systemctl": packages["systemctl"], "apt-get": `case "$*" in
*--print-uris*) ;;
*\ install\ *) echo "$*" >>"$AT/installed"; echo "E: no space left"; exit 100 ;;
esac`}
	env, dir := standIn(t, broken)
	out, err := inside(t, without, env, "./install-deps test-unit && exit 9; ls /usr/sbin/policy-rc.d && exit 8; exit 7")
	if err == nil || err.Error() != "exit status 7" || !strings.Contains(out, "E: no space left") {
		t.Errorf("%v: %s", err, out)
	}
	if n := len(strings.Split(read(t, filepath.Join(dir, "installed")), "\n")); n != 1 {
		t.Errorf("installed %d times, want once: only downloads are tried again", n)
	}
}

// TestInstallPerTarget: the demo does not need firewalld, so firewalld is not installed for the
// demo.
func TestInstallPerTarget(t *testing.T) {
	env, dir := standIn(t, packages)
	out, err := inside(t, without, env, "./install-deps demo")
	if err != nil || out != "" {
		t.Errorf("%v: %s", err, out)
	}
	if made, _ := filepath.Glob(filepath.Join(dir, "installed")); len(made) > 0 {
		t.Errorf("installed: %s", read(t, made[0]))
	}
}

// TestInstallWithoutChromium: on Ubuntu everything except Chromium is installed, and the output
// says that Chromium is missing.
func TestInstallWithoutChromium(t *testing.T) {
	ubuntu := map[string]string{"apt-get": packages["apt-get"], "systemctl": packages["systemctl"],
		"apt-cache": `[[ $2 == chromium* ]] && echo "  Candidate: (none)" || echo "  Candidate: 1.2.3"`}
	env, dir := standIn(t, ubuntu)
	out, err := inside(t, without+`; mkdir "$1/bin"; for p in /usr/bin/*; do case $p in *chrom*) ;; *) ln -s "$p" "$1/bin" ;; esac; done; PATH=${PATH%%:*}:$1/bin:/usr/local/go/bin`,
		env, "./install-deps all")
	if err != nil || !strings.Contains(out, "google-chrome") {
		t.Errorf("%v: %s", err, out)
	}
	if installed := read(t, filepath.Join(dir, "installed")); !strings.Contains(installed, "firewalld") || strings.Contains(installed, "chromium") {
		t.Errorf("installed by: apt-get %s", installed)
	}
}

// TestPreflight: the output says what is missing, before anything is built.
func TestPreflight(t *testing.T) {
	tiny := t.TempDir()
	for _, c := range []struct {
		name, prepare string
		programs      map[string]string
		env           []string
		want          string
	}{
		{"memory", `sed 's/^MemAvailable:.*/MemAvailable: 512000 kB/' /proc/meminfo >"$1/meminfo"; mount --bind "$1/meminfo" /proc/meminfo`, nil, nil,
			"500 MiB of memory are available, want 2048"},
		{"disk", "mount -t tmpfs -o size=4m tmpfs " + tiny, nil, []string{"VIPD_LAB_CACHE=" + tiny + "/cache"}, "the disk of " + tiny + " has 4 MiB free"},
		{"nft", ":", map[string]string{"nft": "exit 1"}, nil, "the kernel has no nftables of family arp"},
		{"links", ":", map[string]string{"ip": "exit 1"}, nil, "the kernel makes no veth or bridge links"},
		{"namespaces", ":", map[string]string{"unshare": "exit 1"}, nil, "no network namespaces"},
		{"root", ":", nil, nil, "not root"},
	} {
		t.Run(c.name, func(t *testing.T) {
			env, _ := standIn(t, c.programs)
			script := "./preflight demo"
			if c.name == "root" {
				script = fmt.Sprintf("setpriv --reuid 65534 --regid 65534 --clear-groups bash -c %q", "PATH=$PATH; "+"source ./preflight demo")
			}
			if c.name == "namespaces" { // inside uses unshare, too
				env = nil
				script = `mkdir "$1/bin"; printf '#!/bin/sh\nexit 1\n' >"$1/bin/unshare"; chmod 755 "$1/bin/unshare"; PATH=$1/bin:$PATH ./preflight demo`
			}
			out, err := inside(t, c.prepare, slices.Concat(env, c.env), script)
			if err == nil || !strings.Contains(out, c.want) {
				t.Errorf("%v: %q, want %q", err, out, c.want)
			}
		})
	}
}

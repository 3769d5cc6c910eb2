package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/vipd-io/vipd/internal/nstest"
)

// TestMain builds vipd once, like a release, and puts it first in PATH. The tests here run the
// program as a separate process, hundreds of times, and the race detector would make each start
// take several times as long. Code in the process of the tests runs with the race detector.
func TestMain(m *testing.M) { os.Exit(withProgram(m)) }

func withProgram(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "vipd-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", filepath.Join(dir, "vipd"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build vipd: %v\n%s", err, out)
		return 1
	}
	if err := os.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	nstest.AtOnce(24)
	code = m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

// TestScripts runs the command lines in testdata/script. None of them uses the network.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exitcode": exitCode,
			"refuses":  refuses,
		},
	})
}

// exitCode N COMMAND... runs a command, and expects the exit status N.
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exitcode N command [args]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := exitStatus(ts.Exec(args[1], args[2:]...)); got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// exitStatus returns the exit status in an error of os/exec.
func exitStatus(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}

// refuses NAME VALUE PATTERN runs vipd with a setting, once as a flag and once as an environment
// variable, and with only the required other settings. The expected exit status is 2, with one line
// on stderr and nothing else.
func refuses(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: refuses name value pattern")
	}
	name, value := args[0], args[1]
	want, err := regexp.Compile("^vipd: error: " + args[2] + "\n$")
	ts.Check(err)
	variable := "VIPD_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_")) + "=" + value
	for _, way := range []struct{ flags, env []string }{
		{flags: []string{"--" + name + "=" + value}},
		{env: []string{variable}},
	} {
		var stdout, stderr bytes.Buffer
		cmd := exec.Command("vipd", append([]string{"run"}, way.flags...)...)
		// If a variable is set twice, the last value counts.
		cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "VIPD_ADDRESS=192.168.35.100", "VIPD_KUBECONFIG=/etc/kubernetes/admin.conf"}, way.env...)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		ts.Check(cmd.Start())
		tooLong := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
		code := exitStatus(cmd.Wait())
		tooLong.Stop()
		if code != 2 || stdout.Len() > 0 || !want.MatchString(stderr.String()) {
			ts.Fatalf("vipd run %v with %v:\nexit status %d, want 2\nstdout: %s\nstderr: %swant: %s",
				way.flags, way.env, code, stdout.String(), stderr.String(), want)
		}
	}
}

// written returns the standard output of vipd.
func written(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "vipd", args...).Output()
	if err != nil {
		t.Fatalf("vipd %v: %v", args, err)
	}
	return string(out)
}

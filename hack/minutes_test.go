package hack

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestTable: the table shows the duration of each part and the failures, also if the first failed
// part is not the last part.
func TestTable(t *testing.T) {
	env, _ := standIn(t, map[string]string{"make": `case $2 in
test-unit)
	printf '61.0\tpass\tpkg/a\t\n6.0\tfail\tpkg/b\tTestX TestX/y\n0.0\tskip\tpkg/c\t\n' >>"$TEST_TIMES"
	exit 3 ;;
esac`})
	cmd := exec.CommandContext(t.Context(), "./test", "lint", "test-unit", "test-lab")
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err == nil || err.Error() != "exit status 3" {
		t.Errorf("%v, want the status of what failed", err)
	}
	for _, want := range []string{"1.0  pkg/a\n", "0.1  pkg/b  FAIL\n", "0.0  make lint\n", "FAIL: pkg/b: TestX TestX/y\n", "  all of it\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	for _, unwanted := range []string{"pkg/c", "test-lab"} {
		if strings.Contains(string(out), unwanted) {
			t.Errorf("it speaks of %s:\n%s", unwanted, out)
		}
	}
}

// TestTwoAtOnce: two parts that run at once both run to their end, and either may fail.
func TestTwoAtOnce(t *testing.T) {
	for _, failing := range []string{"test-unit", "test-lab"} {
		env, _ := standIn(t, map[string]string{"make": `case $2 in
test-*) printf '60.0\t%s\tpkg/%s\t\n' "$([ $2 = ` + failing + ` ] && echo fail || echo pass)" $2 >>"$TEST_TIMES" ;;
esac
echo "nice $(nice) $2"
[ $2 != ` + failing + ` ] || exit 3`})
		cmd := exec.CommandContext(t.Context(), "./test", "first", "test-unit+test-lab", "never")
		cmd.Env = append(os.Environ(), env...)
		out, err := cmd.CombinedOutput()
		if err == nil || err.Error() != "exit status 3" {
			t.Errorf("%s fails: %v, want the status of what failed", failing, err)
		}
		for _, want := range []string{"1.0  pkg/test-unit", "1.0  pkg/test-lab", "FAIL: make " + failing, "nice 19 test-unit"} {
			if !strings.Contains(string(out), want) || strings.Contains(string(out), "never") {
				t.Errorf("%s fails: it does not say %q, or goes on:\n%s", failing, want, out)
			}
		}
	}
}

// TestOnceMore: a test that failed while it ran at low priority may pass when it runs alone; the
// table names it.
func TestOnceMore(t *testing.T) {
	for _, c := range []struct {
		name, rows, goes string
		want             []string
		ok               bool
	}{
		{"passes", "fail\\tm/pkg/b\\tTestX TestX/y TestZ", "exit 0", []string{"FLAKY: m/pkg/b: TestX TestX/y TestZ\n", "-race -run ^(TestX|TestZ)$ m/pkg/b"}, true},
		{"fails again", "fail\\tm/pkg/b\\tTestX", "exit 1", []string{"FAIL: m/pkg/b: TestX\n"}, false},
		{"runs only without the race detector, and fails", "fail\\tm/pkg/b\\tTestX", "[[ $* == *-race* ]]", []string{"FAIL: m/pkg/b: TestX\n"}, false},
		{"is not built", "fail\\tm/pkg/b\\t", "exit 0", []string{"FAIL: m/pkg/b\n"}, false},
		{"is ended", "ended\\tm/pkg/b\\tTestX", "exit 0", []string{"ENDED: m/pkg/b: TestX\n"}, false},
		{"is not a test", "pass\\tm/pkg/b\\t", "exit 0", []string{"FAIL: make test-unit\n"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			env, _ := standIn(t, map[string]string{
				"make": `[ $2 = test-unit ] || exit 0
printf '61.0\tpass\tm/pkg/a\t\n6.0\t` + c.rows + `\n' >>"$TEST_TIMES"
exit 3`,
				"go": `echo "$@"; ` + c.goes,
			})
			cmd := exec.CommandContext(t.Context(), "./test", "lint", "test-unit+test-lab")
			cmd.Env = append(os.Environ(), env...)
			out, err := cmd.CombinedOutput()
			if (err == nil) != c.ok {
				t.Errorf("%v, want success: %t", err, c.ok)
			}
			for _, want := range append(c.want, "1.0  m/pkg/a\n", "  make lint\n") {
				if !strings.Contains(string(out), want) {
					t.Errorf("it does not say %q:\n%s", want, out)
				}
			}
		})
	}
}

// TestModelSearchedBefore: a model that was searched before is skipped, and a changed model is
// searched.
func TestModelSearchedBefore(t *testing.T) {
	dir, cache := t.TempDir(), t.TempDir()
	var all []byte
	for _, name := range []string{"vipd.pml", "check"} {
		text := []byte(read(t, filepath.Join("model", name)) + "\n")
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o755); err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	stamp := filepath.Join(cache, "vipd-tools", fmt.Sprintf("model-%x", sha256.Sum256(all))[:len("model-")+16])
	if err := os.MkdirAll(filepath.Dir(stamp), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stamp, []byte("a day"), 0o644); err != nil {
		t.Fatal(err)
	}
	check := func() (string, error) {
		cmd := exec.CommandContext(t.Context(), "bash", filepath.Join(dir, "check"), "--new")
		// A search would need spin; this search fails.
		programs, _ := standIn(t, map[string]string{"spin": "exit 1"})
		cmd.Env = slices.Concat(os.Environ(), programs, []string{"XDG_CACHE_HOME=" + cache})
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := check(); err != nil || !strings.Contains(out, "a day") {
		t.Errorf("searched again: %v\n%s", err, out)
	}
	f, err := os.OpenFile(filepath.Join(dir, "vipd.pml"), os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintln(f, "/* changed */")
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	if out, err := check(); err == nil {
		t.Errorf("a model that changed was not searched:\n%s", out)
	}
}

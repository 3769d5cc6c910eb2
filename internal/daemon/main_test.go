package daemon

import (
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/vipd-io/vipd/internal/nstest"
)

const testVIP = "192.168.35.100"

// repository is the path of the repository's root.
const repository = "../.."

// TestMain runs the squatter when the test binary is called by that name. The squatter is in PATH.
func TestMain(m *testing.M) {
	testscript.Main(leakFree{m}, map[string]func(){"squatter": squatter})
}

// leakFree implements goleak.VerifyTestMain for testscript.Main.
type leakFree struct{ *testing.M }

func (m leakFree) Run() int {
	nstest.AtOnce(16)
	code := m.M.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

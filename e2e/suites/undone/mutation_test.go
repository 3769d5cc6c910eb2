package undone

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vipd-io/vipd/e2e/judge/analyse"
)

// root is the root of the repository, relative to the folder of this package.
const root = "../../.."

// A mutation is a vipd that breaks a promise.
type mutation struct {
	name  string
	edits []edit
	// fault is expected to break the rule.
	fault string
	rule  analyse.Rule
}

// An edit replaces a text that occurs exactly once in a source file of vipd.
type edit struct{ file, old, text string }

// sources returns the changed files, by their paths relative to the root.
func (m mutation) sources() (map[string]string, error) {
	changed := make(map[string]string)
	for _, e := range m.edits {
		text, again := changed[e.file]
		if !again {
			b, err := os.ReadFile(filepath.Join(root, e.file))
			if err != nil {
				return nil, fmt.Errorf("undo %q: %w", m.name, err)
			}
			text = string(b)
		}
		if n := strings.Count(text, e.old); n != 1 {
			return nil, fmt.Errorf("undo %q: %s has %d times %q, want once", m.name, e.file, n, e.old)
		}
		changed[e.file] = strings.Replace(text, e.old, e.text, 1)
	}
	return changed, nil
}

// compile runs `go build` with the changed files instead of those in the repository.
func (m mutation) compile(t *testing.T, args ...string) {
	t.Helper()
	changed, err := m.sources()
	if err != nil {
		t.Fatal(err)
	}
	here, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var overlay struct{ Replace map[string]string }
	overlay.Replace = make(map[string]string)
	for file, text := range changed {
		to := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		overlay.Replace[filepath.Join(here, file)] = to
		if err := os.WriteFile(to, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, b, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"build", "-trimpath", "-buildvcs=false", "-overlay", list}, args...)...)
	cmd.Dir = here
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build vipd with %q undone: %v\n%s", m.name, err, out)
	}
}

// build returns the path of the mutated vipd.
func (m mutation) build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "vipd")
	m.compile(t, "-ldflags", "-s -w", "-o", binary, "./cmd/vipd")
	return binary
}

// packages returns the packages with a changed file.
func (m mutation) packages() (all []string) {
	for _, e := range m.edits {
		all = append(all, "./"+filepath.Dir(e.file))
	}
	return all
}

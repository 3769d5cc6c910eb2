package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMachineID(t *testing.T) {
	root := t.TempDir()
	write := func(path, content string) {
		t.Helper()
		path = filepath.Join(root, path)
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, []byte(content), 0o600))
	}
	if got := machineID(root); got != "" {
		t.Errorf("machineID = %q where there is none", got)
	}
	const secret = "3d1219c7c4c5404aaa1f6d2a48adfda4"
	write("etc/machine-id", secret+"\n")
	template := machineID(root)
	if len(template) != 16 || strings.Contains(template, secret[:8]) {
		t.Errorf("machineID = %q, want a hash", template)
	}
	write("sys/class/dmi/id/product_uuid", "4211B2F4-0001-0000-0000-000000000001\n")
	first := machineID(root)
	write("sys/class/dmi/id/product_uuid", "4211b2f4-0001-0000-0000-000000000001\n")
	if again := machineID(root); again != first { // kernels print the UUID in different cases
		t.Errorf("machineID = %q, then %q", first, again)
	}
	write("sys/class/dmi/id/product_uuid", "4211B2F4-0002-0000-0000-000000000001\n")
	if clone := machineID(root); clone == first || clone == template {
		t.Errorf("two clones of a template have the id %q", clone)
	}
}

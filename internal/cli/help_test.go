package cli

import (
	"strings"
	"testing"
)

// TestHelpFits: the descriptions of all commands fit a terminal of 80 columns.
func TestHelpFits(t *testing.T) {
	for _, command := range []string{"run", "move", "status", "history", "doctor", "doctor explain", "version", "manifest", "manifest pod", "manifest kcp",
		"manifest rbac", "manifest migrate", "kubeconfig", "kubeconfig keep", "kubeconfig renew"} {
		exit, stdout, _ := runVipd(t.Context(), append(strings.Fields(command), "--help")...)
		description, _, found := strings.Cut(stdout, "Usage:\n")
		if exit != exitOK || !found {
			t.Errorf("%s --help: exit status %d\n%s", command, exit, stdout)
		}
		for line := range strings.Lines(description) {
			if n := len(strings.TrimSuffix(line, "\n")); n > 79 {
				t.Errorf("%s --help: a line of %d columns: %s", command, n, line)
			}
		}
	}
}

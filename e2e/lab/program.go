package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A Program is a command of another module than the lab's.
type Program struct {
	Name    string // of the file
	Package string
	Title   string // for the progress display
}

// programFlags omit symbols.
const programFlags = "-s -w"

// BuildPrograms builds commands of the module in a folder as Build does: once, cached as long as
// the module requires the same versions. It returns the folder of the commands.
func BuildPrograms(ctx context.Context, opts BuildOptions, module string, programs ...Program) (string, error) {
	if err := opts.setDefaults(); err != nil {
		return "", err
	}
	source := filepath.Join(opts.Root, module)
	key, err := cacheKey(ctx, source, programFlags)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(opts.Cache, key)
	var targets []target
	for _, p := range programs {
		targets = append(targets, target{p.Name, p.Package, programFlags, p.Title})
	}
	err = withLock(ctx, opts.Cache, func() error { return buildMissing(ctx, source, dir, targets, opts) })
	return dir, err
}

// ModuleDir returns the folder of a module's source, in the version that the module in a folder
// requires.
func ModuleDir(ctx context.Context, opts BuildOptions, module, path string) (string, error) {
	if err := opts.setDefaults(); err != nil {
		return "", err
	}
	source := filepath.Join(opts.Root, module)
	// list does not download the module.
	for _, args := range [][]string{{"mod", "download", path}, {"list", "-m", "-f", "{{.Dir}}", path}} {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir, cmd.Env = source, append(os.Environ(), "GOWORK=off")
		out, err := cmd.CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("find source of %s: %w\n%s", path, err, out)
		}
		if dir := strings.TrimSpace(string(out)); dir != "" {
			return dir, nil
		}
	}
	return "", fmt.Errorf("find source of %s: go list says nothing", path)
}

package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A Program is a command of a module that is not the lab's.
type Program struct {
	Name    string // of the file
	Package string
	Title   string // for the progress display
}

// BuildPrograms builds commands of the module in a folder, as Build does: once, and
// cached for as long as the module asks for the same versions. It returns the folder
// that they are in.
func BuildPrograms(ctx context.Context, opts BuildOptions, module string, programs ...Program) (string, error) {
	if err := opts.setDefaults(); err != nil {
		return "", err
	}
	source := filepath.Join(opts.Root, module)
	key, err := cacheKey(ctx, source)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(opts.Cache, key)
	err = withLock(ctx, opts.Cache, func() error {
		for _, p := range programs {
			to := filepath.Join(dir, p.Name)
			if _, err := os.Stat(to); err == nil {
				continue
			}
			if err := goBuild(ctx, source, to, target{p.Name, p.Package, "-s -w", p.Title}, opts.Progress); err != nil {
				return err
			}
		}
		return nil
	})
	return dir, err
}

// ModuleDir is where the source of a module lies, in the version that the one in a
// folder asks for.
func ModuleDir(ctx context.Context, opts BuildOptions, module, path string) (string, error) {
	if err := opts.setDefaults(); err != nil {
		return "", err
	}
	source := filepath.Join(opts.Root, module)
	// Downloads it if need be; list does not.
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

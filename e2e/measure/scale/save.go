package scale

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/e2e/lab"
)

// Save writes DATE-scale.md and, in DATE-scale/ beside it, the plots and the figures. It returns
// the path of the document.
func Save(r Report, dir string) (string, error) {
	name := r.Date + "-scale"
	folder := filepath.Join(dir, name)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("save report: %w", err)
	}
	files := make(map[string][]byte)
	for _, c := range charts() {
		svg, err := c.svg(r)
		if err != nil {
			return "", err
		}
		files[filepath.Join(folder, c.file+".svg")] = svg
	}
	figures, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return "", fmt.Errorf("save report: %w", err)
	}
	files[filepath.Join(folder, "figures.json")] = append(figures, '\n')
	text, err := document(r, name)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name+".md")
	files[path] = []byte(text)
	for path, content := range files {
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return "", fmt.Errorf("save report: %w", err)
		}
	}
	return path, nil
}

// Load reads figures that Save wrote.
func Load(path string) (r Report, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("read %s: %w", path, err)
	}
	return r, nil
}

// Machine describes this machine.
func Machine() (string, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "", fmt.Errorf("ask for the kernel's version: %w", err)
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return "", fmt.Errorf("ask for the memory: %w", err)
	}
	return fmt.Sprintf("%d processors, %d GiB, Linux %s, Kubernetes %s", runtime.NumCPU(),
		(info.Totalram*uint64(info.Unit))>>30, unix.ByteSliceToString(name.Release[:]), lab.KubernetesVersion()), nil
}

// Problems returns an error if two machines answered at once, or a point failed.
func (r Report) Problems() error {
	var errs []error
	for _, f := range r.Figures {
		if f.Failed != "" {
			errs = append(errs, fmt.Errorf("%s: %s", f.Point, f.Failed))
		}
		for _, t := range f.Takeovers {
			if t.Twice > 0 {
				errs = append(errs, fmt.Errorf("%s, %s to %s: two machines answered at once, %d times", f.Point, t.Signal, t.From, t.Twice))
			}
		}
	}
	return errors.Join(errs...)
}

package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vipd-io/vipd/internal/config"
	"github.com/vipd-io/vipd/internal/manifest"
	"github.com/vipd-io/vipd/internal/migrate"
	"github.com/vipd-io/vipd/pkg/election"
)

func newMigrateCommand() *cobra.Command {
	var inPlace bool
	o := migrate.Options{Timing: func(lease, renew time.Duration) error {
		_, err := election.NewTiming(lease, renew)
		return err
	}}
	cmd := &cobra.Command{
		Use:   "migrate FILE...",
		Short: "Replace kube-vip by vipd in manifests",
		Long: `Read manifests with kube-vip, and write them with vipd instead: a static pod, a
DaemonSet, a KubeadmControlPlane or its template, a ClusterClass, a Cluster, an
RKE2ControlPlane; - is the standard input. All other content stays unchanged,
byte for byte, including placeholders and comments. Pass files that refer to
each other together.

Functions that get lost with kube-vip are reported on stderr. If a manifest
cannot be migrated, the command writes nothing and exits with status 3.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return config.UsageError{Err: errors.New("file missing: `vipd manifest migrate FILE...`, or - for the standard input")}
			}
			return nil
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolVarP(&inPlace, "in-place", "i", false, "write to the files instead of stdout")
	cmd.Flags().StringVar(&o.Image, "image", image(), "vipd's image")
	cmd.Flags().StringVar(&o.Distribution, "distribution", "", "what made the cluster, if the manifests do not tell: "+strings.Join(manifest.DistributionNames(), ", "))
	cmd.RunE = func(cmd *cobra.Command, paths []string) error {
		if _, ok := manifest.DistributionByName(o.Distribution); o.Distribution != "" && !ok {
			return config.UsageError{Err: fmt.Errorf("--distribution: %q is not one of %s", o.Distribution, strings.Join(manifest.DistributionNames(), ", "))}
		}
		files, err := readFiles(paths, cmd.InOrStdin(), inPlace)
		if err != nil {
			return err
		}
		if err := migrateFiles(files, o); err != nil {
			return err
		}
		for _, f := range files {
			f.printNotes(cmd.ErrOrStderr())
		}
		if inPlace {
			return writeFiles(files)
		}
		return writeDocuments(files, cmd.OutOrStdout())
	}
	return cmd
}

// file is a file to migrate.
type file struct {
	path, src string
	result    migrate.Result
	err       error
}

// maxManifests bounds the size of a file.
const maxManifests = 64 << 20

func readFiles(paths []string, stdin io.Reader, inPlace bool) (files []*file, err error) {
	for _, path := range paths {
		var b []byte
		switch {
		case path == "-" && inPlace:
			return nil, config.UsageError{Err: errors.New("--in-place: impossible with the standard input")}
		case path == "-":
			b, err = io.ReadAll(io.LimitReader(stdin, maxManifests+1))
		default:
			b, err = os.ReadFile(path)
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		if len(b) > maxManifests {
			return nil, fmt.Errorf("read %s: larger than %d MiB, too large for manifests", path, maxManifests>>20)
		}
		files = append(files, &file{path: path, src: string(b)})
	}
	return files, nil
}

// migrateFiles fails if a file cannot be migrated, or if no file needs a migration.
func migrateFiles(files []*file, o migrate.Options) error {
	var srcs []string
	for _, f := range files {
		srcs = append(srcs, f.src)
	}
	results, failed := migrate.Files(srcs, o)
	found := slices.Contains(failed, nil)
	var errs []error
	for i, f := range files {
		f.result, f.err = results[i], failed[i]
		if f.err != nil && (!found || !errors.Is(f.err, migrate.ErrNoKubeVip)) {
			errs = append(errs, f.failure())
		}
	}
	return errors.Join(errs...)
}

func (f *file) failure() error {
	if r := (*migrate.Refusal)(nil); errors.As(f.err, &r) && r.Line > 0 {
		return fmt.Errorf("%s:%d: %w", f.path, r.Line, f.err)
	}
	return fmt.Errorf("%s: %w", f.path, f.err)
}

// printNotes prints the notes and warnings of a file.
func (f *file) printNotes(out io.Writer) {
	for _, n := range f.result.Notes {
		kind, at := "note", f.path
		if n.Loss {
			kind = "warning"
		}
		if n.Line > 0 {
			at = fmt.Sprintf("%s:%d", f.path, n.Line)
		}
		fmt.Fprintf(out, "vipd: %s: %s: %s\n", kind, at, n.Text)
	}
	switch {
	case f.err != nil:
		fmt.Fprintf(out, "vipd: note: %s: %v; unchanged\n", f.path, f.err)
	case !f.result.Changed() && len(f.result.Notes) == 0:
		fmt.Fprintf(out, "vipd: note: %s: nothing to migrate: the file already has vipd, and no kube-vip\n", f.path)
	}
}

// output returns the new content of the file.
func (f *file) output() string {
	if f.err != nil {
		return f.src
	}
	return f.result.Out
}

// writeDocuments writes all files as one YAML stream.
func writeDocuments(files []*file, out io.Writer) error {
	var b strings.Builder
	for i, f := range files {
		text := f.output()
		if i > 0 && !strings.HasPrefix(text, "---") {
			b.WriteString("---\n")
		}
		b.WriteString(text)
		if i < len(files)-1 && !strings.HasSuffix(text, "\n") {
			b.WriteString("\n")
		}
	}
	return write(out, b.String())
}

// writeFiles replaces the changed files atomically: kubelet may watch the folder, and ignores
// files that begin with a dot.
func writeFiles(files []*file) error {
	var errs []error
	for _, f := range files {
		if f.output() == f.src {
			continue
		}
		if err := replaceFile(f.path, f.output()); err != nil {
			errs = append(errs, fmt.Errorf("write %s: %w", f.path, err))
		}
	}
	return errors.Join(errs...)
}

func replaceFile(path, text string) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	t, err := os.CreateTemp(filepath.Dir(path), ".vipd-migrate-*")
	if err != nil {
		return err
	}
	defer os.Remove(t.Name())
	_, err = io.WriteString(t, text)
	err = errors.Join(err, t.Chmod(info.Mode()), t.Sync(), t.Close())
	if err != nil {
		return err
	}
	return os.Rename(t.Name(), path)
}

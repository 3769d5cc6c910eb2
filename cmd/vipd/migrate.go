package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/migrate"
)

func newMigrateCommand() *cobra.Command {
	var inPlace bool
	o := migrate.Options{Timing: func(lease, renew time.Duration) error {
		_, err := election.NewTiming(lease, renew)
		return err
	}}
	cmd := &cobra.Command{
		Use:   "migrate FILE...",
		Short: "Put vipd in kube-vip's place",
		Long: `Read manifests with kube-vip in them, and write them with vipd in its place: a static pod, a
KubeadmControlPlane or its template, a ClusterClass, a Cluster; - is the standard input. What is not
kube-vip's stays as it is, byte for byte, placeholders and comments as well. Files that belong together
are to be given together.

What is lost with kube-vip is said on stderr. What cannot be migrated is refused with status 3, and
nothing is written, to no file.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("which file? `vipd manifest migrate FILE...`, or - for the standard input")}
			}
			return nil
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolVarP(&inPlace, "in-place", "i", false, "write to the files, not to stdout")
	cmd.Flags().StringVar(&o.Image, "image", image(), "vipd's image")
	cmd.RunE = func(cmd *cobra.Command, paths []string) error {
		files, err := readFiles(paths, cmd.InOrStdin(), inPlace)
		if err != nil {
			return err
		}
		if err := migrateFiles(files, o); err != nil {
			return err
		}
		for _, f := range files {
			f.tell(cmd.ErrOrStderr())
		}
		if inPlace {
			return writeFiles(files)
		}
		return writeDocuments(files, cmd.OutOrStdout())
	}
	return cmd
}

// file is one to be migrated.
type file struct {
	path, src string
	result    migrate.Result
	err       error
}

// maxManifests bounds what is read of one file.
const maxManifests = 64 << 20

func readFiles(paths []string, stdin io.Reader, inPlace bool) (files []*file, err error) {
	for _, path := range paths {
		var b []byte
		switch {
		case path == "-" && inPlace:
			return nil, usageError{errors.New("--in-place: the standard input is no file")}
		case path == "-":
			b, err = io.ReadAll(io.LimitReader(stdin, maxManifests+1))
		default:
			b, err = os.ReadFile(path)
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		if len(b) > maxManifests {
			return nil, fmt.Errorf("read %s: it is larger than %d MiB, which no manifests are", path, maxManifests>>20)
		}
		files = append(files, &file{path: path, src: string(b)})
	}
	return files, nil
}

// migrateFiles fails if one file does, or if there is nothing to migrate in any.
func migrateFiles(files []*file, o migrate.Options) error {
	var found bool
	var errs []error
	for _, f := range files {
		f.result, f.err = migrate.Migrate(f.src, o)
		found = found || f.err == nil
		o.Elsewhere = o.Elsewhere || f.result.Replaced
	}
	for _, f := range files {
		if o.Elsewhere && errors.Is(f.err, migrate.ErrNoKubeVip) {
			f.result, f.err = migrate.Migrate(f.src, o)
		}
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

// tell says what a person should know.
func (f *file) tell(out io.Writer) {
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
		fmt.Fprintf(out, "vipd: note: %s: %v; left as it is\n", f.path, f.err)
	case !f.result.Changed() && len(f.result.Notes) == 0:
		fmt.Fprintf(out, "vipd: note: %s: nothing to migrate: vipd is in it already, and no kube-vip\n", f.path)
	}
}

// output is the file as it is to be.
func (f *file) output() string {
	if f.err != nil {
		return f.src
	}
	return f.result.Out
}

// writeDocuments writes all files as one stream of documents.
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

// writeFiles replaces those that have changed, each in one step: kubelet may be
// looking at them, and takes no notice of a file with a dot before its name.
func writeFiles(files []*file) error {
	var errs []error
	for _, f := range files {
		if f.output() == f.src {
			continue
		}
		if err := replace(f.path, f.output()); err != nil {
			errs = append(errs, fmt.Errorf("write %s: %w", f.path, err))
		}
	}
	return errors.Join(errs...)
}

func replace(path, text string) error {
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

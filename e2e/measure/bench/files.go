package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Names of the files that belong to a document.
const (
	plotFile    = "unreachable.svg"
	recordsFile = "records.jsonl.gz"
)

// WriteFiles writes DATE.md to the folder, and DATE/ with the plot and the records.
func (r *Report) WriteFiles(dir string) error {
	beside := filepath.Join(dir, r.Date)
	if err := os.MkdirAll(beside, 0o755); err != nil {
		return fmt.Errorf("write benchmark: %w", err)
	}
	document := func(w io.Writer) error { _, err := io.WriteString(w, r.Document()); return err }
	return errors.Join(
		writeFile(filepath.Join(beside, recordsFile), r.Write),
		writeFile(filepath.Join(beside, plotFile), r.Plot),
		writeFile(filepath.Join(dir, r.Date+".md"), document),
	)
}

func writeFile(path string, write func(io.Writer) error) error {
	var buf bytes.Buffer
	if err := write(&buf); err != nil {
		return err
	}
	return os.WriteFile(path, buf.Bytes(), 0o644)
}

// ReadFile reads the records of a benchmark.
func ReadFile(path string) (*Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read records: %w", err)
	}
	defer f.Close()
	return Read(f)
}

// Markers of the part of the README that a benchmark writes.
const (
	begins = "<!-- bench -->\n"
	ends   = "<!-- /bench -->\n"
)

// PutInto replaces the text between the markers in a README.
func (r *Report) PutInto(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("put figures into README: %w", err)
	}
	head, rest, opened := bytes.Cut(text, []byte(begins))
	_, tail, closed := bytes.Cut(rest, []byte(ends))
	if !opened || !closed {
		return fmt.Errorf("put figures into %s: it has no %q and %q", path, begins, ends)
	}
	next := bytes.Join([][]byte{head, []byte(begins), []byte(r.Excerpt()), []byte(ends), tail}, nil)
	return os.WriteFile(path, next, 0o644)
}

package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path"
	"slices"
	"strings"
)

// layer returns the tar archive of the files, with their folders.
func layer(files []File) ([]byte, error) {
	entries := make(map[string]entry)
	for _, f := range files {
		b, err := os.ReadFile(f.From)
		if err != nil {
			return nil, err
		}
		entries[strings.TrimPrefix(path.Clean(f.To), "/")] = entry{b, f.Mode}
	}
	var out bytes.Buffer
	err := writeTar(&out, entries)
	return out.Bytes(), err
}

// compress writes neither time nor name into the header (gzip.Header), so the bytes depend only on
// the content and the toolchain.
func compress(b []byte) ([]byte, error) {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(b); err != nil {
		return nil, err
	}
	err = z.Close()
	return out.Bytes(), err
}

// An entry is a file of an archive.
type entry struct {
	content []byte
	mode    int64
}

// writeTar writes files sorted by path, each folder before its content.
func writeTar(w io.Writer, files map[string]entry) error {
	headers := make(map[string]*tar.Header)
	for name, f := range files {
		headers[name] = &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: f.mode, Size: int64(len(f.content)), ModTime: epoch, Format: tar.FormatUSTAR}
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			headers[dir+"/"] = &tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: epoch, Format: tar.FormatUSTAR}
		}
	}
	names := make([]string, 0, len(headers))
	for name := range headers {
		names = append(names, name)
	}
	slices.Sort(names)
	out := tar.NewWriter(w)
	for _, name := range names {
		if err := out.WriteHeader(headers[name]); err != nil {
			return err
		}
		if _, err := out.Write(files[name].content); err != nil {
			return err
		}
	}
	return out.Close()
}

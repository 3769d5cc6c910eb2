package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// An archive is an image layout whose parts name each other by their digests. Neither
// the time, nor the files' times and modes, nor the order in which they are given
// changes a byte.
func TestWrite(t *testing.T) {
	for _, plain := range []bool{false, true} {
		first := t.TempDir()
		image := Image{
			Name:   "registry.example/a/b:v1",
			Config: ocispec.ImageConfig{User: "0:0", Entrypoint: []string{"/usr/bin/b"}, Labels: map[string]string{"b": "1", "a": "2"}},
			Files: []File{
				{From: save(t, first, "b", "program", 0o600), To: "/usr/bin/b", Mode: 0o755},
				{From: save(t, first, "a", "text", 0o644), To: "/a", Mode: 0o644},
			},
			Plain: plain,
		}
		archive := written(t, image)
		second := t.TempDir()
		again := image
		again.Files = []File{
			{From: save(t, second, "x", "text", 0o777), To: "a", Mode: 0o644},
			{From: save(t, second, "y", "program", 0o777), To: "/usr/bin/b", Mode: 0o755},
		}
		if err := os.Chtimes(filepath.Join(second, "x"), time.Time{}, time.Unix(1e9, 0)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(archive, written(t, again)) {
			t.Errorf("plain=%t: the same image gives other bytes", plain)
		}
		got := read(t, archive)
		if got.name != image.Name || got.ref != "v1" {
			t.Errorf("name %q, ref %q", got.name, got.ref)
		}
		if diff := cmp.Diff(image.Config, got.config.Config); diff != "" {
			t.Errorf("config (-want +got):\n%s", diff)
		}
		want := map[string]entry{"a": {[]byte("text"), 0o644}, "usr/": {nil, 0o755}, "usr/bin/": {nil, 0o755}, "usr/bin/b": {[]byte("program"), 0o755}}
		if diff := cmp.Diff(want, got.files, cmp.AllowUnexported(entry{})); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		"vipd":                       "docker.io/library/vipd:latest",
		"vipd:v1-2-gabc":             "docker.io/library/vipd:v1-2-gabc",
		"registry.k8s.io/etcd:3.6.8": "registry.k8s.io/etcd:3.6.8",
		"127.0.0.1:5000/vipd":        "127.0.0.1:5000/vipd:latest",
		"":                           "",
		"Vipd:v1":                    "",
		"vipd:v1+2":                  "",
	} {
		var out bytes.Buffer
		err := Write(&out, Image{Name: name})
		if want == "" {
			if err == nil {
				t.Errorf("%q is taken for a name", name)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if got := read(t, out.Bytes()).name; got != want {
			t.Errorf("%q becomes %q, want %q", name, got, want)
		}
	}
}

func TestMissingFile(t *testing.T) {
	err := Write(io.Discard, Image{Name: "a", Files: []File{{From: filepath.Join(t.TempDir(), "none"), To: "/a"}}})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func save(t *testing.T, dir, name, text string, mode os.FileMode) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return file
}

func written(t *testing.T, image Image) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := Write(&out, image); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// contents are what an archive holds.
type contents struct {
	name, ref string
	config    ocispec.Image
	files     map[string]entry
}

// read follows the digests from the index down, and checks each.
func read(t *testing.T, archive []byte) (c contents) {
	t.Helper()
	all := untar(t, archive)
	if got := string(all["oci-layout"].content); got != `{"imageLayoutVersion":"1.0.0"}` {
		t.Errorf("oci-layout: %s", got)
	}
	blob := func(d ocispec.Descriptor) []byte {
		b := all["blobs/sha256/"+d.Digest.Encoded()].content
		if digest.FromBytes(b) != d.Digest || int64(len(b)) != d.Size {
			t.Fatalf("blob %s has %d bytes of %d, digest %s", d.Digest, len(b), d.Size, digest.FromBytes(b))
		}
		return b
	}
	var index ocispec.Index
	decode(t, all["index.json"].content, &index)
	if len(index.Manifests) != 1 {
		t.Fatalf("%d manifests", len(index.Manifests))
	}
	c.name, c.ref = index.Manifests[0].Annotations[imageName], index.Manifests[0].Annotations[ocispec.AnnotationRefName]
	var manifest ocispec.Manifest
	decode(t, blob(index.Manifests[0]), &manifest)
	decode(t, blob(manifest.Config), &c.config)
	layer := blob(manifest.Layers[0])
	if manifest.Layers[0].MediaType == ocispec.MediaTypeImageLayerGzip {
		layer = unzip(t, layer)
	}
	if ids := c.config.RootFS.DiffIDs; len(ids) != 1 || ids[0] != digest.FromBytes(layer) {
		t.Errorf("layers %v, want %s", ids, digest.FromBytes(layer))
	}
	if len(all) != 7 { // two folders, two files, three blobs
		t.Errorf("%d files in the archive", len(all))
	}
	c.files = untar(t, layer)
	return c
}

func decode(t *testing.T, b []byte, to any) {
	t.Helper()
	if err := json.Unmarshal(b, to); err != nil {
		t.Fatal(err)
	}
}

func unzip(t *testing.T, b []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

func untar(t *testing.T, b []byte) map[string]entry {
	t.Helper()
	files := make(map[string]entry)
	last := ""
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Name <= last || !h.ModTime.Equal(epoch) || h.Uid != 0 || h.Gid != 0 || h.Uname != "" {
			t.Errorf("header %+v after %s", h, last)
		}
		last = h.Name
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if len(content) == 0 {
			content = nil
		}
		files[h.Name] = entry{content, h.Mode}
	}
}

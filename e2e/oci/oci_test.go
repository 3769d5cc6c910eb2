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

// An archive is an image layout whose parts refer to each other by digest. Neither the time, nor
// the times and modes of the files, nor their order changes a byte.
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
		_, err := Write(&out, Image{Name: name})
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
	_, err := Write(io.Discard, Image{Name: "a", Files: []File{{From: filepath.Join(t.TempDir(), "none"), To: "/a"}}})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

// TestArchitectures: the index refers to the program of each architecture, which has the same path
// in each image.
func TestArchitectures(t *testing.T) {
	dir := t.TempDir()
	var images []Image
	for _, a := range []string{"amd64", "arm64"} {
		images = append(images, Image{Name: "a:v1", Architecture: a, Files: []File{{From: save(t, dir, a, "for "+a, 0o600), To: "/b", Mode: 0o755}}})
	}
	var out bytes.Buffer
	sum, err := Write(&out, images...)
	if err != nil {
		t.Fatal(err)
	}
	all := readAll(t, out.Bytes())
	if len(all) != 2 || all[0].index != sum || all[1].index != sum {
		t.Fatalf("digest %s of %+v", sum, all)
	}
	for i, a := range []string{"amd64", "arm64"} {
		got := all[i]
		if got.name != "docker.io/library/a:v1" || got.platform != "linux/"+a || got.config.Architecture != a || string(got.files["b"].content) != "for "+a {
			t.Errorf("image %d: %+v", i, got)
		}
	}
	images[1].Name = "a:v2"
	if _, err := Write(io.Discard, images...); err == nil {
		t.Error("two images get one name")
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
	if _, err := Write(&out, image); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// contents are the contents of an archive for one architecture.
type contents struct {
	name, ref string
	index     digest.Digest // digest of the named entry
	platform  string
	config    ocispec.Image
	files     map[string]entry
}

// read reads an archive with one image.
func read(t *testing.T, archive []byte) contents {
	t.Helper()
	all := readAll(t, archive)
	if len(all) != 1 {
		t.Fatalf("%d images", len(all))
	}
	return all[0]
}

// readAll follows the digests from the index down, and checks each.
func readAll(t *testing.T, archive []byte) (out []contents) {
	t.Helper()
	all := untar(t, archive)
	if got := string(all["oci-layout"].content); got != `{"imageLayoutVersion":"1.0.0"}` {
		t.Errorf("oci-layout: %s", got)
	}
	seen := make(map[digest.Digest]bool)
	blob := func(d ocispec.Descriptor) []byte {
		seen[d.Digest] = true
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
	named := index.Manifests[0]
	manifests := []ocispec.Descriptor{named}
	if named.MediaType == ocispec.MediaTypeImageIndex {
		var inner ocispec.Index
		decode(t, blob(named), &inner)
		manifests = inner.Manifests
	}
	for _, d := range manifests {
		c := contents{name: named.Annotations[imageName], ref: named.Annotations[ocispec.AnnotationRefName], index: named.Digest,
			platform: d.Platform.OS + "/" + d.Platform.Architecture}
		var manifest ocispec.Manifest
		decode(t, blob(d), &manifest)
		decode(t, blob(manifest.Config), &c.config)
		layer := blob(manifest.Layers[0])
		if manifest.Layers[0].MediaType == ocispec.MediaTypeImageLayerGzip {
			layer = unzip(t, layer)
		}
		if ids := c.config.RootFS.DiffIDs; len(ids) != 1 || ids[0] != digest.FromBytes(layer) {
			t.Errorf("layers %v, want %s", ids, digest.FromBytes(layer))
		}
		c.files = untar(t, layer)
		out = append(out, c)
	}
	if len(all) != 4+len(seen) { // two folders, two files, and the blobs
		t.Errorf("%d files in the archive", len(all))
	}
	return out
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

// Package oci writes images with one layer, without a container engine and without a registry; the
// same input gives the same bytes. An image with a few files in a layer is two tar archives and
// three JSON documents. A library for registries would add more modules than the lab has, and
// writes folders instead of archives.
package oci

import (
	"cmp"
	_ "crypto/sha256" // go-digest uses the linked hash functions
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// An Image is the input of Write.
type Image struct {
	Name         string // the name in a pod, with its tag
	Architecture string // Go's name of the architecture, "" for that of the lab
	Config       ocispec.ImageConfig
	Files        []File
	// Plain leaves the layer uncompressed, which makes unpacking on this machine faster.
	Plain bool
}

// A File is a file of an image, owned by root.
type File struct {
	From string // path on this machine
	To   string // path in the image
	Mode int64
}

// Architecture is the architecture of the lab and its programs.
const Architecture = "amd64"

// epoch is the time of all files and documents, so that the bytes are the same each time.
var epoch = time.Unix(0, 0).UTC()

// imageName is the annotation by which containerd names an imported image. The standard annotation
// has only the tag.
const imageName = "io.containerd.image.name"

// Write writes an image as an archive of an OCI image layout, and returns its digest. Several
// images with one name are for several architectures, and the digest is that of their index.
func Write(w io.Writer, images ...Image) (digest.Digest, error) {
	sum, err := write(w, images)
	if err != nil {
		return "", fmt.Errorf("write image %s: %w", images[0].Name, err)
	}
	return sum, nil
}

func write(w io.Writer, images []Image) (digest.Digest, error) {
	name, err := reference.ParseNormalizedNamed(images[0].Name)
	if err != nil {
		return "", err
	}
	tagged, ok := reference.TagNameOnly(name).(reference.NamedTagged)
	if !ok {
		return "", errors.New("want a name with a tag")
	}
	l := layout{blobs: make(map[digest.Digest][]byte)}
	var all []ocispec.Descriptor
	for _, image := range images {
		if image.Name != images[0].Name {
			return "", fmt.Errorf("%s is another image", image.Name)
		}
		manifest, err := l.addImage(image)
		if err != nil {
			return "", err
		}
		all = append(all, manifest)
	}
	named := all[0]
	if len(all) > 1 {
		if named, err = l.addJSON(ocispec.MediaTypeImageIndex, index(all...)); err != nil {
			return "", err
		}
	}
	named.Annotations = map[string]string{imageName: tagged.String(), ocispec.AnnotationRefName: tagged.Tag()}
	return named.Digest, l.write(w, named)
}

func index(manifests ...ocispec.Descriptor) ocispec.Index {
	return ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: manifests}
}

// A layout is the blobs of an image layout.
type layout struct{ blobs map[digest.Digest][]byte }

func (l layout) addImage(image Image) (ocispec.Descriptor, error) {
	plain, err := layer(image.Files)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	packed, mediaType := plain, ocispec.MediaTypeImageLayer
	if !image.Plain {
		if packed, err = compress(plain); err != nil {
			return ocispec.Descriptor{}, err
		}
		mediaType = ocispec.MediaTypeImageLayerGzip
	}
	platform := ocispec.Platform{Architecture: cmp.Or(image.Architecture, Architecture), OS: "linux"}
	config, err := l.addJSON(ocispec.MediaTypeImageConfig, ocispec.Image{
		Created:  &epoch,
		Platform: platform,
		Config:   image.Config,
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(plain)}},
		History:  []ocispec.History{{Created: &epoch, CreatedBy: "vipd e2e/oci"}},
	})
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	manifest, err := l.addJSON(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    config,
		Layers:    []ocispec.Descriptor{l.add(mediaType, packed)},
	})
	manifest.Platform = &platform
	return manifest, err
}

func (l layout) add(mediaType string, blob []byte) ocispec.Descriptor {
	sum := digest.FromBytes(blob)
	l.blobs[sum] = blob
	return ocispec.Descriptor{MediaType: mediaType, Digest: sum, Size: int64(len(blob))}
}

func (l layout) addJSON(mediaType string, v any) (ocispec.Descriptor, error) {
	b, err := json.Marshal(v) // json.Marshal sorts the keys of maps
	return l.add(mediaType, b), err
}

// write writes the layout's files, sorted by name.
func (l layout) write(w io.Writer, named ocispec.Descriptor) error {
	top, err := json.Marshal(index(named))
	if err != nil {
		return err
	}
	version, err := json.Marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
	if err != nil {
		return err
	}
	files := map[string]entry{ocispec.ImageIndexFile: {top, 0o644}, ocispec.ImageLayoutFile: {version, 0o644}}
	for sum, blob := range l.blobs {
		files[path.Join(ocispec.ImageBlobsDir, sum.Algorithm().String(), sum.Encoded())] = entry{blob, 0o644}
	}
	return writeTar(w, files)
}

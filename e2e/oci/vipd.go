package oci

import (
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Vipd returns the image of vipd, as the Dockerfile describes it.
func Vipd(name, version, architecture, binary, license string) Image {
	return Image{
		Name:         name,
		Architecture: architecture,
		Config: ocispec.ImageConfig{
			User:       "0:0",
			Entrypoint: []string{"/vipd"},
			Cmd:        []string{"run"},
			Labels: map[string]string{
				ocispec.AnnotationTitle:       "vipd",
				ocispec.AnnotationDescription: "Keeps a virtual IP address on one node of a Kubernetes control plane",
				ocispec.AnnotationSource:      "https://github.com/vipd-io/vipd",
				ocispec.AnnotationLicenses:    "Apache-2.0",
				ocispec.AnnotationVersion:     version,
			},
		},
		Files: []File{
			{From: binary, To: "/vipd", Mode: 0o755},
			{From: license, To: "/LICENSE", Mode: 0o644},
		},
	}
}

// Command image writes the container image of vipd as an archive, without a container engine or a
// registry: `make image`.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/vipd-io/vipd/e2e/oci"
)

func main() {
	var (
		name     = flag.String("name", "ghcr.io/vipd-io/vipd", "name of the image, without a tag")
		version  = flag.String("version", "unknown", "version of vipd, which is the tag")
		license  = flag.String("license", "../LICENSE", "the license to put in")
		output   = flag.String("output", "", "the archive to write")
		binaries [][2]string
	)
	flag.Func("binary", "ARCHITECTURE=FILE, the vipd to put in; once for each architecture", func(s string) error {
		architecture, file, ok := strings.Cut(s, "=")
		if !ok {
			return errors.New("want ARCHITECTURE=FILE")
		}
		binaries = append(binaries, [2]string{architecture, file})
		return nil
	})
	flag.Parse()
	var images []oci.Image
	for _, b := range binaries {
		images = append(images, oci.Vipd(*name+":"+*version, *version, b[0], b[1], *license))
	}
	sum, err := write(*output, images)
	if err != nil {
		fmt.Fprintf(os.Stderr, "image: error: %v\n", err)
		os.Exit(1)
	}
	fmt.Printf("%s: %s:%s@%s\n", *output, *name, *version, sum)
}

// write writes the archive atomically.
func write(to string, images []oci.Image) (sum digest.Digest, err error) {
	if len(images) == 0 {
		return "", errors.New("--binary is missing")
	}
	f, err := os.CreateTemp(filepath.Dir(to), ".image-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name()) // missing after success
	sum, err = oci.Write(f, images...)
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return "", err
	}
	return sum, os.Rename(f.Name(), to)
}

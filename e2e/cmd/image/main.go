// Command image writes the container image of vipd as an archive, without a container engine or a
// registry: `make image`.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vipd-io/vipd/e2e/oci"
)

func main() {
	var (
		name    = flag.String("name", "ghcr.io/vipd-io/vipd", "name of the image, without a tag")
		version = flag.String("version", "unknown", "version of vipd, which is the tag")
		binary  = flag.String("binary", "../bin/vipd", "the vipd to put in")
		license = flag.String("license", "../LICENSE", "the license to put in")
		output  = flag.String("output", "", "the archive to write")
	)
	flag.Parse()
	if err := write(*output, oci.Vipd(*name+":"+*version, *version, *binary, *license)); err != nil {
		fmt.Fprintf(os.Stderr, "image: error: %v\n", err)
		os.Exit(1)
	}
	fmt.Println(*output)
}

// write writes the archive atomically.
func write(to string, image oci.Image) (err error) {
	f, err := os.CreateTemp(filepath.Dir(to), ".image-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // missing after success
	if err := errors.Join(oci.Write(f, image), f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), to)
}

package kubeadm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/oci"
)

const (
	registry = "registry.k8s.io/"
	// pauseImage is what containerd takes for a pod's sandbox, whatever kubeadm's version asks for.
	pauseImage = registry + "pause:3.10.2"
	vipdImage  = "vipd:lab"
	// kubeVipImage is the image in CAPV's templates, in which a stand-in runs (kubevip).
	kubeVipImage = "ghcr.io/kube-vip/kube-vip:v0.6.4"
)

// images are of what a cluster runs, by the names that kubeadm asks for.
func images(ctx context.Context, l *lab.Lab, bin lab.Binaries) ([]oci.Image, error) {
	programs := map[string]string{
		"kube-apiserver":          bin.APIServer,
		"kube-controller-manager": bin.ControllerManager,
		"kube-scheduler":          bin.Scheduler,
		"etcd":                    bin.Etcd,
		"pause":                   bin.Pause,
	}
	names, err := l.Nodes[0].Run(ctx, bin.Kubeadm, "config", "images", "list", "--kubernetes-version", bin.Version)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	var all []oci.Image
	for name := range strings.FieldsSeq(names) { // and of warnings
		program, _, _ := strings.Cut(path.Base(name), ":")
		if from, ok := programs[program]; ok && strings.HasPrefix(name, registry) {
			if program == "pause" {
				name = pauseImage
			}
			all = append(all, component(name, program, from))
			delete(programs, program)
		}
	}
	if len(programs) > 0 {
		return nil, fmt.Errorf("kubeadm asks for no image of %v, but for:\n%s", programs, names)
	}
	vipd := oci.Vipd(vipdImage, "lab", oci.Architecture, bin.Vipd, "")
	vipd.Files = vipd.Files[:1] // the license is no matter here
	vipd.Plain = true
	if bin.KubeVip != "" {
		all = append(all, component(kubeVipImage, "kube-vip", bin.KubeVip))
	}
	return append(all, vipd), nil
}

// component is an image with one program, which is what it runs by default.
func component(name, program, from string) oci.Image {
	to := "/usr/local/bin/" + program
	return oci.Image{
		Name:   name,
		Config: ocispec.ImageConfig{Env: []string{"PATH=/usr/local/bin"}, Entrypoint: []string{to}},
		Files:  []oci.File{{From: from, To: to, Mode: 0o755}},
		Plain:  true,
	}
}

// writeImages writes archives with a prefix in their names into the lab's folder, and returns their paths.
func writeImages(l *lab.Lab, prefix string, all []oci.Image) (paths []string, err error) {
	for i, image := range all {
		archive := filepath.Join(l.Dir, fmt.Sprintf("%s-%d.tar", prefix, i))
		f, err := os.Create(archive)
		if err != nil {
			return nil, err
		}
		_, err = oci.Write(f, image)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		paths = append(paths, archive)
	}
	return paths, nil
}

// load gives the machine images.
func (m *Machine) load(ctx context.Context, archives []string) error {
	for _, archive := range archives {
		// In the machine, the lab's folder may be hidden by its root.
		inside := "var/log/" + filepath.Base(archive)
		if err := os.Link(archive, m.disk(inside)); err != nil {
			return fmt.Errorf("load images on %s: %w", m.Name, err)
		}
		if _, err := m.ctr(ctx, "image", "import", "/"+inside); err != nil {
			return fmt.Errorf("load images on %s: %w", m.Name, err)
		}
		if err := os.Remove(m.disk(inside)); err != nil {
			return err
		}
	}
	return nil
}

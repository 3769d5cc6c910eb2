package capi

import (
	"context"
	"os"
	"path/filepath"

	"github.com/vipd-io/vipd/e2e/lab"
)

// Binaries are the programs of a management cluster, and vipd.
type Binaries struct {
	Lab lab.Binaries

	programs map[string]string // the paths by the names
	sources  map[string]string // the folders of the providers' modules by their paths
}

// Kubectl is the path of kubectl.
func (b Binaries) Kubectl() string { return b.programs["kubectl"] }

// CAPVTemplate is the path of a file in the templates of CAPV's module.
func (b Binaries) CAPVTemplate(name string) string {
	return filepath.Join(b.sources[capvModule], "templates", name)
}

// Modules of this repository that require the programs: no version of Kubernetes suits all.
const (
	clusterAPI = "e2e/capi/providers"
	vSphere    = "e2e/capi/vsphere"
)

// Build builds the programs once, and vipd each time.
func Build(ctx context.Context) (Binaries, error) {
	opts := lab.BuildOptions{Progress: os.Stderr, Kubelet: true, KubeVip: true}
	b := Binaries{programs: make(map[string]string), sources: make(map[string]string)}
	var err error
	if b.Lab, err = lab.Build(ctx, opts); err != nil {
		return b, err
	}
	programs := map[string][]lab.Program{
		clusterAPI: {{Name: "kubectl", Package: "./kubectl", Title: "kubectl"}},
		vSphere:    {{Name: "vcsim", Package: "./vcsim", Title: "a vCenter that is simulated"}},
	}
	for _, p := range providers {
		programs[p.from] = append(programs[p.from], lab.Program{Name: p.name, Package: p.pkg(), Title: p.title})
		if b.sources[p.module], err = lab.ModuleDir(ctx, opts, p.from, p.module); err != nil {
			return b, err
		}
	}
	for module, list := range programs {
		dir, err := lab.BuildPrograms(ctx, opts, module, list...)
		if err != nil {
			return b, err
		}
		for _, p := range list {
			b.programs[p.Name] = filepath.Join(dir, p.Name)
		}
	}
	return b, nil
}

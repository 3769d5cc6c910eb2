// Package capi runs a management cluster of Cluster API: a real API server with Cluster API's own
// CRDs, webhooks and controllers. Only CAPV is simulated; it creates no machines.
package capi

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/vipd-io/vipd/e2e/lab"
)

// Binaries are the programs of a management cluster, and vipd.
type Binaries struct {
	Lab lab.Binaries
	// Providers is the folder of Cluster API's controllers and kubectl, Source the folder of
	// Cluster API's module.
	Providers, Source string
}

// Build builds the programs once, and vipd each time.
func Build(ctx context.Context) (b Binaries, err error) {
	opts := lab.BuildOptions{Progress: os.Stderr}
	if b.Lab, err = lab.Build(ctx, opts); err != nil {
		return b, err
	}
	programs := []lab.Program{{Name: "kubectl", Package: "./kubectl", Title: "kubectl"}}
	for _, p := range providers {
		programs = append(programs, lab.Program{Name: p.name, Package: p.pkg(), Title: p.title})
	}
	if b.Providers, err = lab.BuildPrograms(ctx, opts, "e2e/suites/capi/providers", programs...); err != nil {
		return b, err
	}
	b.Source, err = lab.ModuleDir(ctx, opts, "e2e/suites/capi/providers", module)
	return b, err
}

// Management is a management cluster, on the loopback interface.
type Management struct {
	Client client.Client
	Dir    string // kubeconfig and logs

	config   *rest.Config
	env      *envtest.Environment
	managers []*manager
	stop     chan struct{}
	stopped  chan error
}

// Start starts a management cluster in a folder, and waits until its controllers accept requests.
// All processes end with Close, or with this process.
func Start(ctx context.Context, bin Binaries, dir string) (*Management, error) {
	m := &Management{Dir: dir, stop: make(chan struct{}), stopped: make(chan error, 1)}
	started := make(chan error)
	go func() {
		// A child with PR_SET_PDEATHSIG dies with the thread that started it (prctl(2)). So this
		// thread does nothing else.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		started <- m.start(ctx, bin)
		<-m.stop
		m.stopped <- m.end()
	}()
	if err := <-started; err != nil {
		return nil, errors.Join(fmt.Errorf("start management cluster: %w", err), m.Close())
	}
	return m, nil
}

// Close ends the management cluster.
func (m *Management) Close() error {
	close(m.stop)
	return <-m.stopped
}

func (m *Management) start(ctx context.Context, bin Binaries) (err error) {
	m.env = &envtest.Environment{}
	m.env.ControlPlane.Etcd = &envtest.Etcd{}
	if m.env.ControlPlane.Etcd.Path, err = m.mortal(bin.Lab.Etcd); err != nil {
		return err
	}
	if m.env.ControlPlane.GetAPIServer().Path, err = m.mortal(bin.Lab.APIServer); err != nil {
		return err
	}
	m.env.ControlPlaneStartTimeout = startTimeout
	if m.config, err = m.env.Start(); err != nil {
		return err
	}
	if err := os.WriteFile(m.kubeconfig(), m.env.KubeConfig, 0o600); err != nil {
		return err
	}
	m.config.WarningHandler = rest.NoWarnings{} // the warning that v1beta1 is deprecated
	if m.Client, err = client.New(m.config, client.Options{}); err != nil {
		return err
	}
	if err := m.installStandIns(); err != nil {
		return err
	}
	if err := m.installPools(); err != nil {
		return err
	}
	return m.startProviders(ctx, bin)
}

func (m *Management) end() error {
	var errs []error
	for _, p := range m.managers {
		errs = append(errs, p.end())
	}
	return errors.Join(append(errs, m.env.Stop())...)
}

func (m *Management) kubeconfig() string { return filepath.Join(m.Dir, "kubeconfig") }

// mortal is a program that ends with this process, however this process ends. envtest starts the
// program, and has no option for that.
func (m *Management) mortal(program string) (string, error) {
	path := filepath.Join(m.Dir, filepath.Base(program))
	script := fmt.Sprintf("#!/bin/sh\nexec setpriv --pdeathsig KILL %q \"$@\"\n", program)
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	return path, nil
}

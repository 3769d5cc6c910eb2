// Package capi runs a management cluster of Cluster API: a real API server with the CRDs, webhooks and
// controllers of Cluster API, of its provider for vSphere (CAPV) and of its in-cluster IPAM provider.
// The vCenter is simulated (capi/vsphere/vcsim), and a runner stands in for the hosts of its
// machines: each machine is a node of the lab that boots from what CAPV wrote for the guest.
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
)

// Management is a management cluster, on the loopback interface.
type Management struct {
	Client  client.Client
	VCenter VCenter
	Dir     string // kubeconfig and logs

	config   *rest.Config
	env      *envtest.Environment
	programs []*program
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
	// In a network namespace without a default route, the API server finds no address to tell pods, of
	// which there are none (RFC 5737: an address for examples).
	m.env.ControlPlane.GetAPIServer().Configure().Set("advertise-address", "192.0.2.1")
	m.env.ControlPlaneStartTimeout = startTimeout
	if m.config, err = m.env.Start(); err != nil {
		return err
	}
	if err := os.WriteFile(m.Kubeconfig(), m.env.KubeConfig, 0o600); err != nil {
		return err
	}
	m.config.WarningHandler = rest.NoWarnings{} // the warning that v1beta1 is deprecated
	if m.Client, err = client.New(m.config, client.Options{}); err != nil {
		return err
	}
	if err := m.startVCenter(ctx, bin); err != nil {
		return err
	}
	if err := m.startGarbageCollector(bin); err != nil {
		return err
	}
	return m.startProviders(ctx, bin)
}

// startGarbageCollector starts the one controller of Kubernetes that Cluster API needs: what a
// deleted machine owned, such as its address, goes with the machine.
func (m *Management) startGarbageCollector(bin Binaries) error {
	return m.startProgram("kube-controller-manager", bin.Lab.ControllerManager, nil,
		"--kubeconfig="+m.Kubeconfig(), "--controllers=garbage-collector-controller", "--leader-elect=false", "--bind-address="+loopback, "--secure-port=0")
}

func (m *Management) end() error {
	var errs []error
	for _, p := range m.programs {
		errs = append(errs, p.end())
	}
	return errors.Join(append(errs, m.env.Stop())...)
}

// Kubeconfig is the file of an administrator's kubeconfig.
func (m *Management) Kubeconfig() string { return filepath.Join(m.Dir, "kubeconfig") }

// AddUser returns a kubeconfig for a user without rights.
func (m *Management) AddUser(name string) ([]byte, error) {
	user, err := m.env.AddUser(envtest.User{Name: name}, nil)
	if err != nil {
		return nil, err
	}
	return user.KubeConfig()
}

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

// Log returns the log of a program, which is named as the program.
func (m *Management) Log(program string) (string, error) {
	b, err := os.ReadFile(m.logFile(program))
	return string(b), err
}

func (m *Management) logFile(program string) string { return filepath.Join(m.Dir, program+".log") }

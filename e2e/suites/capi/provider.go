package capi

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

const (
	module = "sigs.k8s.io/cluster-api"
	// startTimeout bounds the start of each process on a busy machine.
	startTimeout = 2 * time.Minute
	// stopTimeout bounds the end of a manager.
	stopTimeout = 30 * time.Second
)

// A provider is one of Cluster API's programs, with its CRDs and webhooks.
type provider struct {
	name, folder, title string
}

var providers = []provider{
	{"capi-core", ".", "Cluster API's core controllers; a first build takes about 3 minutes on 2 cores, cached afterwards"},
	{"capi-bootstrap", "bootstrap/kubeadm", "Cluster API's kubeadm bootstrap provider"},
	{"capi-control-plane", "controlplane/kubeadm", "Cluster API's kubeadm control-plane provider"},
}

func (p provider) pkg() string { return path.Join(module, p.folder) }

// A manager is a running provider.
type manager struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when the process has been reaped
}

// startProviders installs all CRDs, then starts each provider, and waits until the webhooks of all
// answer.
func (m *Management) startProviders(ctx context.Context, bin Binaries) error {
	hooks := make([]*envtest.WebhookInstallOptions, len(providers))
	for i, p := range providers {
		config := filepath.Join(bin.Source, p.folder, "config")
		hooks[i] = &envtest.WebhookInstallOptions{
			Paths:                   []string{filepath.Join(config, "webhook", "manifests.yaml")},
			IgnoreSchemeConvertible: true, // the types are not known here
		}
		if err := hooks[i].PrepWithoutInstalling(); err != nil {
			return fmt.Errorf("read webhooks of %s: %w", p.name, err)
		}
		if err := m.installCRDs(filepath.Join(config, "crd", "bases"), *hooks[i]); err != nil {
			return fmt.Errorf("install CRDs of %s: %w", p.name, err)
		}
	}
	for i, p := range providers {
		r, err := m.startManager(p, filepath.Join(bin.Providers, p.name), hooks[i])
		if err != nil {
			return fmt.Errorf("start %s: %w", p.name, err)
		}
		m.managers = append(m.managers, r)
	}
	for i, p := range providers {
		if err := m.managers[i].serves(ctx, hooks[i]); err != nil {
			return fmt.Errorf("wait for %s: %w", p.name, err)
		}
		for _, h := range hooks[i].MutatingWebhooks {
			h.Name = p.name // the names are all the same
		}
		for _, h := range hooks[i].ValidatingWebhooks {
			h.Name = p.name
		}
		if err := hooks[i].Install(m.config); err != nil {
			return fmt.Errorf("install webhooks of %s: %w", p.name, err)
		}
	}
	return nil
}

// installCRDs installs Cluster API's own CRDs as its kustomizations do: with the labels that say
// which version implements which contract, and with conversion by a webhook.
func (m *Management) installCRDs(dir string, hooks envtest.WebhookInstallOptions) error {
	opts := envtest.CRDInstallOptions{Paths: []string{dir}, ErrorIfPathMissing: true, WebhookOptions: hooks}
	if err := envtest.ReadCRDFiles(&opts); err != nil {
		return err
	}
	for _, crd := range opts.CRDs {
		crd.Labels = map[string]string{contractLabel + "v1beta1": "v1beta1", contractLabel + "v1beta2": "v1beta2"}
	}
	opts.Paths = nil
	_, err := envtest.InstallCRDs(m.config, opts)
	return err
}

func (m *Management) startManager(p provider, program string, hooks *envtest.WebhookInstallOptions) (*manager, error) {
	r := &manager{log: filepath.Join(m.Dir, p.name+".log"), done: make(chan struct{})}
	log, err := os.Create(r.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	r.cmd = exec.Command(program,
		"--kubeconfig="+m.kubeconfig(),
		"--webhook-port="+strconv.Itoa(hooks.LocalServingPort), "--webhook-cert-dir="+hooks.LocalServingCertDir,
		"--diagnostics-address=127.0.0.1:0", "--health-addr=127.0.0.1:0",
		"--feature-gates=ClusterTopology=true", "-v=4")
	r.cmd.Stdout, r.cmd.Stderr = log, log
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = r.cmd.Wait() // the log has the reason
		close(r.done)
	}()
	return r, nil
}

// serves waits until the manager's webhooks answer.
func (r *manager) serves(ctx context.Context, hooks *envtest.WebhookInstallOptions) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	address := net.JoinHostPort(hooks.LocalServingHost, strconv.Itoa(hooks.LocalServingPort))
	// This checks only that a server answers; the API server checks the certificate.
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	err := wait.Until(ctx, 100*time.Millisecond, func() (bool, error) {
		select {
		case <-r.done:
			return false, fmt.Errorf("it ended: %v", r.cmd.ProcessState)
		default:
		}
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return false, nil //nolint:nilerr // not yet
		}
		return true, conn.Close()
	})
	if err != nil {
		log, _ := os.ReadFile(r.log)
		return fmt.Errorf("%w\n%s", err, log[max(0, len(log)-4000):])
	}
	return nil
}

func (r *manager) end() error {
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("end %s: %w", filepath.Base(r.cmd.Path), err)
	}
	select {
	case <-r.done:
		return nil
	case <-time.After(stopTimeout):
		err := r.cmd.Process.Kill()
		<-r.done
		if err != nil {
			return fmt.Errorf("kill %s: %w", filepath.Base(r.cmd.Path), err)
		}
		return nil
	}
}

package capi

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"strconv"

	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// A provider is one of Cluster API's programs, with its CRDs and webhooks.
type provider struct {
	name, title string
	// from is the module of this repository that requires the provider's module, folder the program
	// in the latter.
	from, module, folder string
	// crds and webhooks are a folder and a file in the module.
	crds, webhooks string
	// contracts are the versions of the CRDs by the contract that they implement, as the
	// provider's kustomization labels them.
	contracts map[string]string
	args, env []string
}

const (
	// contractLabel with a version of Cluster API's contract, on a CRD, says which versions of the
	// CRD implement that contract.
	contractLabel = "cluster.x-k8s.io/"

	core = "sigs.k8s.io/cluster-api"
	capv = "capv"

	capvModule = "sigs.k8s.io/cluster-api-provider-vsphere"
)

var providers = []provider{
	ofClusterAPI("capi-core", ".", "Cluster API's core controllers; a first build takes about 3 minutes on 2 cores, cached afterwards"),
	ofClusterAPI("capi-bootstrap", "bootstrap/kubeadm", "Cluster API's kubeadm bootstrap provider"),
	ofClusterAPI("capi-control-plane", "controlplane/kubeadm", "Cluster API's kubeadm control-plane provider"),
	{
		name: "capi-ipam", title: "Cluster API's in-cluster IPAM provider", from: vSphere, module: "sigs.k8s.io/cluster-api-ipam-provider-in-cluster",
		crds: "config/crd/bases", webhooks: "config/webhook/manifests.yaml",
		args: []string{"--webhook-cert-name=tls.crt", "--webhook-key-name=tls.key", "--health-probe-bind-address=127.0.0.1:0", "--diagnostics-address=127.0.0.1:0"},
	},
	{
		name: capv, title: "Cluster API's provider for vSphere; a first build takes about 5 minutes on 2 cores, cached afterwards",
		from: vSphere, module: capvModule,
		crds: "config/default/crd/bases", webhooks: "config/govmomi/webhook/manifests.yaml",
		contracts: map[string]string{"v1beta1": "v1beta1"},
		args:      []string{"--leader-elect=false", "--diagnostics-address=127.0.0.1:0", "--health-addr=127.0.0.1:0", "-v=4"},
		env:       []string{"POD_NAMESPACE=default", "POD_NAME=capv"},
	},
}

// ofClusterAPI is a provider in Cluster API's own module.
func ofClusterAPI(name, folder, title string) provider {
	return provider{
		name: name, title: title, from: clusterAPI, module: core, folder: folder,
		crds: path.Join(folder, "config/crd/bases"), webhooks: path.Join(folder, "config/webhook/manifests.yaml"),
		contracts: map[string]string{"v1beta1": "v1beta1", "v1beta2": "v1beta2"},
		args:      []string{"--diagnostics-address=127.0.0.1:0", "--health-addr=127.0.0.1:0", "--feature-gates=ClusterTopology=true", "-v=4"},
	}
}

func (p provider) pkg() string { return path.Join(p.module, p.folder) }

// startProviders installs all CRDs, then starts each provider, and waits until the webhooks of all
// answer.
func (m *Management) startProviders(ctx context.Context, bin Binaries) error {
	hooks := make([]*envtest.WebhookInstallOptions, len(providers))
	for i, p := range providers {
		source := bin.sources[p.module]
		hooks[i] = &envtest.WebhookInstallOptions{
			Paths:                   []string{filepath.Join(source, p.webhooks)},
			IgnoreSchemeConvertible: true, // the types are not known here
		}
		if err := hooks[i].PrepWithoutInstalling(); err != nil {
			return fmt.Errorf("read webhooks of %s: %w", p.name, err)
		}
		if err := m.installCRDs(p, filepath.Join(source, p.crds), *hooks[i]); err != nil {
			return fmt.Errorf("install CRDs of %s: %w", p.name, err)
		}
	}
	first := len(m.programs)
	for i, p := range providers {
		args := append([]string{
			"--kubeconfig=" + m.Kubeconfig(),
			"--webhook-port=" + strconv.Itoa(hooks[i].LocalServingPort), "--webhook-cert-dir=" + hooks[i].LocalServingCertDir,
		}, p.args...)
		if p.name == capv {
			args = append(args, "--credentials-file="+m.credentials())
		}
		if err := m.startProgram(p.name, bin.programs[p.name], p.env, args...); err != nil {
			return err
		}
	}
	for i, p := range providers {
		if err := m.programs[first+i].serves(ctx, hooks[i].LocalServingHost, hooks[i].LocalServingPort); err != nil {
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

// installCRDs installs a provider's own CRDs as its kustomizations do: with the labels that say
// which version implements which contract, and with conversion by a webhook.
func (m *Management) installCRDs(p provider, dir string, hooks envtest.WebhookInstallOptions) error {
	opts := envtest.CRDInstallOptions{Paths: []string{dir}, ErrorIfPathMissing: true, WebhookOptions: hooks}
	if err := envtest.ReadCRDFiles(&opts); err != nil {
		return err
	}
	for _, crd := range opts.CRDs {
		crd.Labels = make(map[string]string)
		for contract, version := range p.contracts {
			crd.Labels[contractLabel+contract] = version
		}
	}
	opts.Paths = nil
	_, err := envtest.InstallCRDs(m.config, opts)
	return err
}

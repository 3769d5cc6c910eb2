package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vipd-io/vipd/pkg/config"
	"github.com/vipd-io/vipd/pkg/manifest"
)

func newManifestCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "manifest",
		Short: "Write what vipd is deployed with",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("which manifest? `vipd manifest --help` lists them")}
		},
	}
	cmd.AddCommand(newPodCommand(), newKCPCommand(), newRBACCommand(), newMigrateCommand())
	return cmd
}

// image is the default: that of this version.
func image() string {
	if version == "" {
		return "ghcr.io/vipd-io/vipd:latest"
	}
	return "ghcr.io/vipd-io/vipd:" + version
}

// podFlags are those of all commands that write a pod.
type podFlags struct {
	pod manifest.Pod
	// addressless: the address comes from elsewhere.
	addressless bool
}

// deployed are the settings that go into a manifest: not those that the pod sets
// for itself.
var deployed = []string{"address", "port", "interface", "kubeconfig", "peer", "preferred", "lease-namespace", "lease-name",
	"profile", "lease-duration", "renew-interval", "fence", "status-address", "log-format", "log-level"}

func (f *podFlags) add(cmd *cobra.Command) {
	cmd.Flags().SortFlags = false
	addSettings(cmd, deployed)
	cmd.Flags().StringVar(&f.pod.Image, "image", image(), "vipd's image")
	cmd.Flags().StringVar(&f.pod.PKI, "pki", manifest.DefaultPKI, "folder of the cluster's CA on the nodes")
	cmd.Flags().Lookup("kubeconfig").Usage = "credentials on the nodes, such as /etc/kubernetes/admin.conf (default: the pod makes its own from the CA)"
}

// read takes in the flags. What is no placeholder has to be right.
func (f *podFlags) read(cmd *cobra.Command) (manifest.Pod, error) {
	values, _, errs := readSettings(cmd, nil)
	p := f.pod
	p.Kubeconfigs = values["kubeconfig"]
	checked := config.Values{"address": {"192.0.2.1"}, "kubeconfig": {manifest.Kubeconfig}} // where a placeholder stands
	for _, s := range config.Settings {
		v, ok := values[s.Name]
		if !ok {
			continue
		}
		joined := strings.Join(v, s.Separator)
		if !strings.Contains(joined, "${") {
			checked[s.Name] = v
		}
		switch s.Name {
		case "address":
			p.Address = joined
		case "kubeconfig":
		default:
			p.Settings = append(p.Settings, manifest.Setting{Name: s.Name, Value: joined})
		}
	}
	if p.Address == "" && !f.addressless {
		delete(checked, "address")
	}
	if _, err := config.Parse(checked); err != nil {
		errs = append(errs, err)
	}
	if strings.ContainsAny(p.Image, " \t\n") || p.Image == "" {
		errs = append(errs, fmt.Errorf("--image: %q is not the name of an image", p.Image))
	}
	if err := errors.Join(errs...); err != nil {
		return p, usageError{err}
	}
	return p, nil
}

func newPodCommand() *cobra.Command {
	f := &podFlags{}
	cmd := &cobra.Command{
		Use:   "pod",
		Short: "The static pod, for /etc/kubernetes/manifests/vipd.yaml",
		Long: `Write the static pod, for /etc/kubernetes/manifests/vipd.yaml on every control-plane node.

In CAPV's ClusterClass it goes into the variable kubeVipPodManifest, as it is.`,
		Args: cobra.NoArgs,
	}
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p, err := f.read(cmd)
		if err != nil {
			return err
		}
		return write(cmd.OutOrStdout(), p.YAML())
	}
	return cmd
}

func newRBACCommand() *cobra.Command {
	r := manifest.RBAC{}
	cmd := &cobra.Command{
		Use:   "rbac",
		Short: "What vipd's certificates may do; its pod applies it by itself",
		Args:  cobra.NoArgs,
	}
	addSettings(cmd, []string{"lease-namespace", "lease-name"})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		values, _, _ := readSettings(cmd, nil)
		values["kubeconfig"] = []string{manifest.Kubeconfig}
		c, err := config.ParseClient(values)
		if err != nil {
			return usageError{err}
		}
		r.LeaseNamespace, r.LeaseName = c.LeaseNamespace, c.LeaseName
		return write(cmd.OutOrStdout(), r.YAML())
	}
	return cmd
}

func newKCPCommand() *cobra.Command {
	f, k, form := &podFlags{}, manifest.KCP{}, ""
	cmd := &cobra.Command{
		Use:   "kcp",
		Short: "What a KubeadmControlPlane of Cluster API needs",
		Long: `Write the static pod among the files of a KubeadmControlPlane, and the names of the address for
the API servers' certificates.

  files         a piece of spec.kubeadmConfigSpec, to be pasted
  patch         a JSON patch: kubectl patch kubeadmcontrolplane NAME --type json --patch-file FILE
  full          a KubeadmControlPlane for CAPV
  clusterclass  an entry of a ClusterClass's patches`,
		Args: cobra.NoArgs,
	}
	f.add(cmd)
	cmd.Flags().StringVar(&form, "as", string(manifest.Files), "files, patch, full or clusterclass")
	cmd.Flags().StringVar(&k.API, "api", "v1beta2", "version of Cluster API's objects: v1beta1 or v1beta2")
	cmd.Flags().StringVar(&k.DNSName, "dns-name", "", "name of the address, such as kube-api-server.uat.local")
	cmd.Flags().StringVar(&k.Name, "name", "control-plane", "name of a full KubeadmControlPlane")
	cmd.Flags().StringVar(&k.Namespace, "namespace", "default", "namespace of a full KubeadmControlPlane")
	cmd.Flags().StringVar(&k.Version, "kubernetes-version", "v1.36.3", "Kubernetes version of a full KubeadmControlPlane")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		f.addressless = form == string(manifest.ClusterClass)
		if k.Pod, err = f.read(cmd); err != nil {
			return err
		}
		text, err := k.YAML(manifest.Form(form))
		if err != nil {
			return usageError{err}
		}
		return write(cmd.OutOrStdout(), text)
	}
	return cmd
}

func write(out io.Writer, text string) error {
	if _, err := io.WriteString(out, text); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

package cli

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vipd-io/vipd/internal/config"
	"github.com/vipd-io/vipd/internal/manifest"
	"github.com/vipd-io/vipd/internal/version"
	"github.com/vipd-io/vipd/pkg/election"
)

func newManifestCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "manifest",
		Short: "Write manifests that deploy vipd",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return config.UsageError{Err: errors.New("command missing; `vipd manifest --help` lists the commands")}
		},
	}
	cmd.AddCommand(newPodCommand(), newDaemonSetCommand(), newKCPCommand(), newRBACCommand(), newMigrateCommand())
	return cmd
}

// image returns the default image: the image of this version.
func image() string {
	return "ghcr.io/vipd-io/vipd:" + version.Tag()
}

// podFlags are the flags of all commands that write a pod.
type podFlags struct {
	pod manifest.Pod
	// addressOptional: another source supplies the address.
	addressOptional bool
	// distribution and dataDir are "" in a command without these flags.
	distribution, dataDir string
}

// manifestSettings are the settings that a manifest may have. The pod sets the others itself.
var manifestSettings = []string{"address", "port", "interface", "peer", "preferred", "lease-namespace", "lease-name",
	"profile", "lease-duration", "max-lease-duration", "renew-interval", "fence", "status-address", "log-format", "log-level"}

func (f *podFlags) add(cmd *cobra.Command) {
	cmd.Flags().SortFlags = false
	addSettings(cmd, manifestSettings)
	cmd.Flags().StringVar(&f.pod.Image, "image", image(), "vipd's image")
}

// addCredentials adds the flags of a static pod, which has no ServiceAccount.
func (f *podFlags) addCredentials(cmd *cobra.Command) {
	addSettings(cmd, []string{"kubeconfig"})
	cmd.Flags().Lookup("kubeconfig").Usage = "credentials on the nodes, such as /etc/kubernetes/admin.conf (default: the pod creates credentials with the CA)"
	cmd.Flags().StringVar(&f.pod.PKI, "pki", "", "folder of the cluster's CA on the nodes (default: the distribution's, such as "+manifest.DefaultPKI+")")
}

func (f *podFlags) addDistribution(cmd *cobra.Command, standard string) {
	cmd.Flags().StringVar(&f.distribution, "distribution", standard, "what made the cluster, and so the folders: "+strings.Join(manifest.DistributionNames(), ", "))
	cmd.Flags().StringVar(&f.dataDir, "data-dir", "", "--data-dir of RKE2 or k3s (default: /var/lib/rancher/rke2 or /var/lib/rancher/k3s)")
}

// layout evaluates the flags of addDistribution.
func (f *podFlags) layout(cmd *cobra.Command) (manifest.Distribution, error) {
	if cmd.Flags().Lookup("distribution") == nil {
		return manifest.Kubeadm, nil
	}
	names := strings.Join(manifest.DistributionNames(), ", ")
	if f.distribution == "" {
		return manifest.Kubeadm, fmt.Errorf("--distribution: missing: one of %s", names)
	}
	d, ok := manifest.DistributionByName(f.distribution)
	switch {
	case !ok:
		return d, fmt.Errorf("--distribution: %q is not one of %s", f.distribution, names)
	case f.dataDir == "":
		return d, nil
	case d.DataDir == "":
		return d, fmt.Errorf("--data-dir: %s has none: use --pki", d.Name)
	case !path.IsAbs(f.dataDir):
		return d, fmt.Errorf("--data-dir: %q is not an absolute path", f.dataDir)
	}
	return d.In(f.dataDir), nil
}

// read evaluates the flags, and validates all values without placeholders.
func (f *podFlags) read(cmd *cobra.Command) (manifest.Pod, error) {
	values, _, errs := readSettings(cmd, nil)
	p := f.pod
	p.Kubeconfigs = values["kubeconfig"]
	var err error
	if p.Distribution, err = f.layout(cmd); err != nil {
		errs = append(errs, err)
	}
	checked := config.Values{"address": {"192.0.2.1"}, "kubeconfig": {manifest.Kubeconfig}} // in place of placeholders
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
	if port := values["port"]; len(port) > 0 {
		if why := p.Distribution.NotAPIServer(port[0]); why != "" {
			errs = append(errs, errors.New("--port: "+why))
		}
	}
	if p.Address == "" && !f.addressOptional {
		delete(checked, "address")
	}
	c, err := config.Parse(checked)
	if err == nil && (checked["lease-duration"] != nil || values["lease-duration"] == nil) && (checked["renew-interval"] != nil || values["renew-interval"] == nil) {
		_, err = election.NewTiming(c.LeaseDuration, c.RenewInterval)
	}
	if err != nil {
		errs = append(errs, err)
	}
	if strings.ContainsAny(p.Image, " \t\n") || p.Image == "" {
		errs = append(errs, fmt.Errorf("--image: %q is not the name of an image", p.Image))
	}
	if err := errors.Join(errs...); err != nil {
		return p, config.UsageError{Err: err}
	}
	return p, nil
}

func newPodCommand() *cobra.Command {
	f := &podFlags{}
	cmd := &cobra.Command{
		Use:   "pod",
		Short: "Write the static pod for /etc/kubernetes/manifests/vipd.yaml",
		Long: `Write the static pod for every control-plane node:

  kubeadm  /etc/kubernetes/manifests/vipd.yaml
  rke2     /var/lib/rancher/rke2/agent/pod-manifests/vipd.yaml
  k3s      /var/lib/rancher/k3s/agent/pod-manifests/vipd.yaml

In CAPV's ClusterClass, use the pod as the value of the variable
kubeVipPodManifest.`,
		Args: cobra.NoArgs,
	}
	f.add(cmd)
	f.addCredentials(cmd)
	f.addDistribution(cmd, manifest.Kubeadm.Name)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p, err := f.read(cmd)
		if err != nil {
			return err
		}
		return write(cmd.OutOrStdout(), p.YAML())
	}
	return cmd
}

func newDaemonSetCommand() *cobra.Command {
	f := &podFlags{}
	cmd := &cobra.Command{
		Use:   "daemonset",
		Short: "Write a DaemonSet, its ServiceAccount and its RBAC",
		Long: `Write a DaemonSet for the control-plane nodes, and a ServiceAccount that may
write one Lease. Apply the output with kubectl, or copy it to the folder
server/manifests of RKE2 or k3s.

A DaemonSet needs a running API server. Use it only where kubelet reaches the
API server without the VIP, as with RKE2 and k3s. With kubeadm, use
"vipd manifest pod": after a power failure, a kubelet that knows only the VIP
could never start the pod that holds the VIP.`,
		Args: cobra.NoArgs,
	}
	f.add(cmd)
	f.addDistribution(cmd, "")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p, err := f.read(cmd)
		if err != nil {
			return err
		}
		d := manifest.DaemonSet{Pod: p}
		for _, s := range p.Settings {
			switch s.Name {
			case "lease-namespace":
				d.LeaseNamespace = s.Value
			case "lease-name":
				d.LeaseName = s.Value
			}
		}
		return write(cmd.OutOrStdout(), d.YAML())
	}
	return cmd
}

func newRBACCommand() *cobra.Command {
	r := manifest.RBAC{}
	cmd := &cobra.Command{
		Use:   "rbac",
		Short: "Write the RBAC of vipd's certificates, which the pod also applies",
		Args:  cobra.NoArgs,
	}
	addSettings(cmd, []string{"lease-namespace", "lease-name"})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		values, _, _ := readSettings(cmd, nil)
		values["kubeconfig"] = []string{manifest.Kubeconfig}
		c, err := config.ParseClient(values)
		if err != nil {
			return config.UsageError{Err: err}
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
		Short: "Write the additions to a KubeadmControlPlane of Cluster API",
		Long: `Write the static pod as a file of a KubeadmControlPlane, and the names of the
address for the API servers' certificates.

  files         a part of spec.kubeadmConfigSpec
  patch         a JSON patch, for:
                kubectl patch kubeadmcontrolplane NAME --type json \
                  --patch-file FILE
  full          a KubeadmControlPlane for CAPV
  clusterclass  an entry of a ClusterClass's patches`,
		Args: cobra.NoArgs,
	}
	f.add(cmd)
	f.addCredentials(cmd)
	cmd.Flags().StringVar(&form, "as", string(manifest.Files), "files, patch, full or clusterclass")
	cmd.Flags().StringVar(&k.API, "api", "v1beta2", "version of Cluster API's objects: v1beta1 or v1beta2")
	cmd.Flags().StringVar(&k.DNSName, "dns-name", "", "DNS name of the address, such as kube-api-server.uat.local")
	cmd.Flags().StringVar(&k.Name, "name", "control-plane", "name of a full KubeadmControlPlane")
	cmd.Flags().StringVar(&k.Namespace, "namespace", "default", "namespace of a full KubeadmControlPlane")
	cmd.Flags().StringVar(&k.Version, "kubernetes-version", "v1.36.3", "Kubernetes version of a full KubeadmControlPlane")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		f.addressOptional = form == string(manifest.ClusterClass)
		if k.Pod, err = f.read(cmd); err != nil {
			return err
		}
		text, err := k.YAML(manifest.Form(form))
		if err != nil {
			return config.UsageError{Err: err}
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

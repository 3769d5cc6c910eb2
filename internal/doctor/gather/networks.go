package gather

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/vipd-io/vipd/internal/doctor"
	"github.com/vipd-io/vipd/internal/staticpod"
)

// The ranges of Services and pods.

// defaultServices is kubeadm's networking.serviceSubnet (kubeadm-config.v1beta4).
const defaultServices = "10.96.0.0/12"

// kubeadmConfig is where Cluster API writes kubeadm's configuration.
const kubeadmConfig = "/run/kubeadm/kubeadm.yaml"

// networkOptions are the options that set a range, by static pod.
var networkOptions = []struct {
	pod, option string
	use         doctor.NetworkUse
}{
	{"kube-apiserver", "--service-cluster-ip-range", doctor.Services},
	{"kube-controller-manager", "--cluster-cidr", doctor.Pods},
}

// clusterNetworks reads the ranges from the options of this node's control plane or, before
// kubeadm, from kubeadm's configuration.
func (r *Request) clusterNetworks() (out []doctor.ClusterNetwork, err error) {
	for _, o := range networkOptions {
		pod, err := staticpod.Read(filepath.Join(r.manifests(), o.pod+".yaml"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return out, fmt.Errorf("read manifest of %s: %w", o.pod, err)
		}
		for _, c := range pod.Spec.Containers {
			text := option(slices.Concat(c.Command, c.Args), o.option)
			out = append(out, networksOf(o.use, o.option+" of "+o.pod, strings.Split(text, ","))...)
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	if d := r.distribution(); d.DataDir != "" {
		return rancherNetworks("/", d.Name)
	}
	text, err := os.ReadFile(kubeadmConfig)
	if err != nil {
		return nil, ignoreNotExist(err)
	}
	return kubeadmNetworks(string(text))
}

// rancherOptions are the options of RKE2 and k3s that set a range, and their defaults (docs.rke2.io and
// docs.k3s.io, server configuration).
var rancherOptions = []struct {
	option, otherwise string
	use               doctor.NetworkUse
}{
	{"service-cidr", "10.43.0.0/16", doctor.Services},
	{"cluster-cidr", "10.42.0.0/16", doctor.Pods},
}

// rancherNetworks reads the ranges from the configuration of RKE2 or k3s below root. Options in the
// command line of their unit are not read.
func rancherNetworks(root, name string) (out []doctor.ClusterNetwork, err error) {
	folder := "/etc/rancher/" + name
	files, err := filepath.Glob(filepath.Join(root, folder, "config.yaml.d", "*.yaml"))
	if err != nil {
		return nil, err
	}
	values := make(map[string]any) // of the last file, as there
	for _, file := range append([]string{filepath.Join(root, folder, "config.yaml")}, files...) {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = yaml.Unmarshal(text, &values)
		}
		if err != nil {
			return nil, fmt.Errorf("read the configuration of %s: %w", name, err)
		}
	}
	for _, o := range rancherOptions {
		source, text := o.option+" in "+folder+"/config.yaml", fmt.Sprint(values[o.option])
		if values[o.option] == nil {
			source, text = name+"'s default", o.otherwise
		}
		out = append(out, networksOf(o.use, source, strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(", []", r) }))...)
	}
	return out, nil
}

// option returns the value of an option in a command line, the last one if there are several.
func option(words []string, name string) (value string) {
	for i, w := range words {
		if after, ok := strings.CutPrefix(w, name+"="); ok {
			value = after
		} else if w == name && i+1 < len(words) {
			value = words[i+1]
		}
	}
	return value
}

// networksOf parses the ranges. Others than prefixes are omitted: a component does not start with
// such a value.
func networksOf(use doctor.NetworkUse, source string, texts []string) (out []doctor.ClusterNetwork) {
	for _, text := range texts {
		if p, err := netip.ParsePrefix(strings.TrimSpace(text)); err == nil {
			out = append(out, doctor.ClusterNetwork{Use: use, Prefix: p, Source: source})
		}
	}
	return out
}

// kubeadmNetworks reads the ranges from a ClusterConfiguration. The result is empty without one, as
// where a machine joins.
func kubeadmNetworks(text string) ([]doctor.ClusterNetwork, error) {
	for document := range strings.SplitSeq("\n"+text, "\n---") {
		var c struct {
			Kind       string
			Networking struct{ ServiceSubnet, PodSubnet string }
		}
		if err := yaml.Unmarshal([]byte(document), &c); err != nil {
			return nil, fmt.Errorf("read %s: %w", kubeadmConfig, err)
		}
		if c.Kind != "ClusterConfiguration" {
			continue
		}
		services := networksOf(doctor.Services, "networking.serviceSubnet in "+kubeadmConfig, strings.Split(c.Networking.ServiceSubnet, ","))
		if len(services) == 0 {
			services = networksOf(doctor.Services, "kubeadm's default", []string{defaultServices})
		}
		return append(services, networksOf(doctor.Pods, "networking.podSubnet in "+kubeadmConfig, strings.Split(c.Networking.PodSubnet, ","))...), nil
	}
	return nil, nil
}

// managedNetworks reads the ranges of a Cluster with a KubeadmControlPlane. Cluster API hands those
// of the Cluster to kubeadm, unless the KubeadmControlPlane (before v1beta2) has its own.
func managedNetworks(cluster, controlPlane unstructured.Unstructured) (out []doctor.ClusterNetwork) {
	name := cluster.GetNamespace() + "/" + cluster.GetName()
	for _, of := range []struct {
		use           doctor.NetworkUse
		field, subnet string
		otherwise     string
	}{{doctor.Services, "services", "serviceSubnet", defaultServices}, {doctor.Pods, "pods", "podSubnet", ""}} {
		own, _, _ := unstructured.NestedString(controlPlane.Object, "spec", "kubeadmConfigSpec", "clusterConfiguration", "networking", of.subnet)
		got := networksOf(of.use, "networking."+of.subnet+" of KubeadmControlPlane "+controlPlane.GetNamespace()+"/"+controlPlane.GetName(), strings.Split(own, ","))
		if len(got) == 0 {
			blocks, _, _ := unstructured.NestedStringSlice(cluster.Object, "spec", "clusterNetwork", of.field, "cidrBlocks")
			got = networksOf(of.use, "clusterNetwork."+of.field+" of Cluster "+name, blocks)
		}
		if len(got) == 0 {
			got = networksOf(of.use, "kubeadm's default, as Cluster "+name+" sets none", []string{of.otherwise})
		}
		out = append(out, got...)
	}
	return out
}

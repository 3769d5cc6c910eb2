package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/vipd-io/vipd/pkg/doctor"
	"github.com/vipd-io/vipd/pkg/manifest"
)

const (
	// managementTimeout bounds all that a management cluster is asked for.
	managementTimeout = 4 * time.Second
	// pageSize is how many objects are asked for at once, maxObjects how many are
	// looked at of a kind.
	pageSize, maxObjects = 500, 50_000
	clusterLabel         = "cluster.x-k8s.io/cluster-name"
)

// managementCluster reads a management cluster. Its objects are read as what they are
// documented to be, in the newest version of the API that is served.
type managementCluster struct{ client dynamic.Interface }

func openManagement(path string) (managementCluster, error) {
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return managementCluster{}, fmt.Errorf("--management-kubeconfig: %s is not readable as one", path) // the library's error quotes it
	}
	config.UserAgent = "vipd-doctor/" + versionString()
	config.QPS = -1
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return managementCluster{}, fmt.Errorf("--management-kubeconfig: %w", err)
	}
	return managementCluster{client}, nil
}

// list returns all objects of a kind, none if no version of it is served.
func (m managementCluster) list(ctx context.Context, group, resource string, versions ...string) (out []unstructured.Unstructured, err error) {
	for _, v := range versions {
		kind := schema.GroupVersionResource{Group: group, Version: v, Resource: resource}
		opts := metav1.ListOptions{Limit: pageSize}
		for {
			page, err := m.client.Resource(kind).List(ctx, opts)
			if apierrors.IsNotFound(err) {
				break // this version is not served
			}
			if err != nil {
				return nil, fmt.Errorf("list %s.%s: %w", resource, group, err)
			}
			if out = append(out, page.Items...); page.GetContinue() == "" {
				return out, nil
			}
			if len(out) >= maxObjects {
				return out, fmt.Errorf("list %s.%s: there are more than %d, and the rest was not looked at", resource, group, maxObjects)
			}
			opts.Continue = page.GetContinue()
		}
	}
	return nil, nil
}

// manage learns what the management cluster has of a cluster ("namespace/name", "" for
// the only one), and what the VIP is if it is not given.
func (c *consultation) manage(ctx context.Context) (*doctor.ManagementCluster, error) {
	ctx, cancel := context.WithTimeout(ctx, managementTimeout)
	defer cancel()
	m, err := openManagement(c.management)
	if err != nil {
		return nil, usageError{err}
	}
	out := &doctor.ManagementCluster{}
	if out.ControlPlane, err = m.controlPlane(ctx, c.cluster); err != nil {
		return nil, err
	}
	var pools, handed error
	out.Pools, pools = m.pools(ctx)
	out.Handed, handed = m.handed(ctx)
	out.Unread = errors.Join(pools, handed)
	return out, c.learnVIP(out.ControlPlane)
}

// learnVIP takes the VIP from the cluster's endpoint or, if that is a name or not there
// yet, from the VSphereCluster's or vipd's manifest.
func (c *consultation) learnVIP(p *doctor.ControlPlane) error {
	if c.vip.IsValid() {
		return nil
	}
	if p != nil {
		if host, err := netip.ParseAddr(p.Host); err == nil {
			c.vip, c.port = host, p.Port
			return nil
		}
		if v := p.VSphere; v != nil && p.Host == "" {
			if host, err := netip.ParseAddr(v.Host); err == nil {
				c.vip, c.port = host, v.Port
				return nil
			}
		}
		if p.Vipd != nil {
			c.vip, c.port = p.Vipd.Address, p.Vipd.Port
			return nil
		}
	}
	return usageError{errors.New("--address: missing, and neither the cluster's endpoint nor a manifest of vipd in its KubeadmControlPlane tells the VIP")}
}

// controlPlane is that of a cluster, nil if there is none.
func (m managementCluster) controlPlane(ctx context.Context, cluster string) (*doctor.ControlPlane, error) {
	all, err := m.list(ctx, "controlplane.cluster.x-k8s.io", "kubeadmcontrolplanes", "v1beta2", "v1beta1")
	if err != nil {
		return nil, err
	}
	clusters, err := m.list(ctx, "cluster.x-k8s.io", "clusters", "v1beta2", "v1beta1")
	if err != nil {
		return nil, err
	}
	var mine []unstructured.Unstructured
	var names []string
	for _, u := range all {
		name := u.GetNamespace() + "/" + clusterName(u, clusters)
		names = append(names, name)
		if cluster == "" || cluster == name {
			mine = append(mine, u)
		}
	}
	switch {
	case len(mine) > 1:
		return nil, usageError{fmt.Errorf("--cluster: which one? There are %s", strings.Join(names, ", "))}
	case len(mine) == 0 && cluster != "":
		return nil, usageError{fmt.Errorf("--cluster: there is no KubeadmControlPlane of cluster %q; there are those of %q", cluster, names)}
	case len(mine) == 0:
		return nil, nil
	}
	p := controlPlaneOf(mine[0])
	for _, u := range clusters {
		if u.GetNamespace() == p.Namespace && u.GetName() == clusterName(mine[0], clusters) {
			p.Host, p.Port = endpointOf(u)
			p.VSphere, p.Unread = m.vSphere(ctx, u)
		}
	}
	return p, nil
}

// endpointOf is a Cluster's, or that of the infrastructure's object for it, "" and 0 for
// none.
func endpointOf(u unstructured.Unstructured) (host string, port uint16) {
	host, _, _ = unstructured.NestedString(u.Object, "spec", "controlPlaneEndpoint", "host")
	n, _, _ := unstructured.NestedInt64(u.Object, "spec", "controlPlaneEndpoint", "port")
	return host, uint16(n)
}

// vSphere is a cluster's VSphereCluster, nil if it has none.
func (m managementCluster) vSphere(ctx context.Context, cluster unstructured.Unstructured) (*doctor.VSphereCluster, error) {
	kind, _, _ := unstructured.NestedString(cluster.Object, "spec", "infrastructureRef", "kind")
	name, _, _ := unstructured.NestedString(cluster.Object, "spec", "infrastructureRef", "name")
	if kind != "VSphereCluster" {
		return nil, nil
	}
	for _, version := range []string{"v1beta2", "v1beta1"} {
		resource := schema.GroupVersionResource{Group: "infrastructure.cluster.x-k8s.io", Version: version, Resource: "vsphereclusters"}
		u, err := m.client.Resource(resource).Namespace(cluster.GetNamespace()).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue // the version or the object
		}
		if err != nil {
			return nil, fmt.Errorf("get VSphereCluster %s/%s: %w", cluster.GetNamespace(), name, err)
		}
		v := &doctor.VSphereCluster{Namespace: u.GetNamespace(), Name: name}
		v.Host, v.Port = endpointOf(*u)
		return v, nil
	}
	return nil, nil
}

// clusterName is the name of the cluster whose control plane it is: by the cluster's own
// word, else by the label that Cluster API puts on it.
func clusterName(controlPlane unstructured.Unstructured, clusters []unstructured.Unstructured) string {
	for _, u := range clusters {
		name, _, _ := unstructured.NestedString(u.Object, "spec", "controlPlaneRef", "name")
		if u.GetNamespace() == controlPlane.GetNamespace() && name == controlPlane.GetName() {
			return u.GetName()
		}
	}
	return controlPlane.GetLabels()[clusterLabel]
}

// controlPlaneOf reads the files and commands of a KubeadmControlPlane.
func controlPlaneOf(u unstructured.Unstructured) *doctor.ControlPlane {
	p := &doctor.ControlPlane{Namespace: u.GetNamespace(), Name: u.GetName()}
	p.CertSANs, _, _ = unstructured.NestedStringSlice(u.Object, "spec", "kubeadmConfigSpec", "clusterConfiguration", "apiServer", "certSANs")
	files, _, _ := unstructured.NestedSlice(u.Object, "spec", "kubeadmConfigSpec", "files")
	for i, f := range files {
		file, _ := f.(map[string]any)
		path, _ := file["path"].(string)
		content := contentOf(file)
		if strings.Contains(path, "kube-vip") || mentionsKubeVip(content) {
			p.KubeVip = append(p.KubeVip, "file "+path)
		}
		if line := jinjaComment(content); line > 0 {
			p.Lint = append(p.Lint, fmt.Sprintf("files[%d], %s: line %d has \"{#\", which cloud-init takes for the begin of a Jinja comment", i, path, line))
		} else if v := vipdFile(path, content); v != nil {
			p.Vipd = v
			if err := manifest.Lint(fmt.Sprintf("files[%d], %s", i, path), content); err != nil {
				p.Lint = append(p.Lint, strings.Split(err.Error(), "\n")...)
			}
		}
	}
	for _, key := range []string{"preKubeadmCommands", "postKubeadmCommands"} {
		commands, _, _ := unstructured.NestedStringSlice(u.Object, "spec", "kubeadmConfigSpec", key)
		for i, command := range commands {
			if strings.Contains(command, "kube-vip") {
				p.KubeVip = append(p.KubeVip, fmt.Sprintf("%s[%d]", key, i))
			}
		}
	}
	return p
}

// contentOf is what a file has in it. One that is compressed, or comes from elsewhere,
// is not looked at.
func contentOf(file map[string]any) string {
	content, _ := file["content"].(string)
	if file["encoding"] == "base64" {
		b, _ := base64.StdEncoding.DecodeString(content)
		return string(b)
	}
	return content
}

// jinjaComment is the line of the first one, 0 for none. Unlike {{ and {%, nobody writes
// it on purpose: it is what ${#list[@]} of a shell looks like.
func jinjaComment(content string) int {
	before, _, found := strings.Cut(content, "{#")
	if !found {
		return 0
	}
	return 1 + strings.Count(before, "\n")
}

func mentionsKubeVip(content string) bool {
	return strings.Contains(content, "/kube-vip:") || strings.Contains(content, "/kube-vip@")
}

// vipdFile is a manifest of vipd, nil if it is none.
func vipdFile(path, content string) *doctor.VipdFile {
	var pod corev1.Pod
	if len(content) > maxManifest || yaml.Unmarshal([]byte(content), &pod) != nil || pod.Labels["app.kubernetes.io/name"] != "vipd" {
		return nil
	}
	v := &doctor.VipdFile{Path: path, Port: 6443}
	for _, c := range pod.Spec.Containers {
		for _, e := range c.Env {
			switch e.Name {
			case "address", "VIPD_ADDRESS":
				v.Address, _ = netip.ParseAddr(e.Value)
			case "port", "VIPD_PORT":
				if n, err := strconv.ParseUint(e.Value, 10, 16); err == nil {
					v.Port = uint16(n)
				}
			}
		}
	}
	return v
}

// pools are those of the in-cluster IPAM provider.
func (m managementCluster) pools(ctx context.Context) (out []doctor.Pool, err error) {
	var errs []error
	for _, kind := range []string{"inclusterippools", "globalinclusterippools"} {
		all, err := m.list(ctx, "ipam.cluster.x-k8s.io", kind, "v1alpha2")
		errs = append(errs, err)
		known := len(all) > 0 && m.knowsReuse(ctx, kind)
		for _, u := range all {
			p := doctor.Pool{Kind: strings.TrimSuffix(kind, "s"), Namespace: u.GetNamespace(), Name: u.GetName(), ReuseKnown: known}
			p.Addresses, _, _ = unstructured.NestedStringSlice(u.Object, "spec", "addresses")
			p.Excluded, _, _ = unstructured.NestedStringSlice(u.Object, "spec", "excludedAddresses")
			bits, _, _ := unstructured.NestedInt64(u.Object, "spec", "prefix")
			p.Prefix = int(bits)
			gateway, _, _ := unstructured.NestedString(u.Object, "spec", "gateway")
			p.Gateway, _ = netip.ParseAddr(gateway)
			_, p.Reuse, _ = unstructured.NestedFieldNoCopy(u.Object, "spec", "addressReuseGracePeriodSeconds")
			out = append(out, p)
		}
	}
	return out, errors.Join(errs...)
}

// knowsReuse tells whether this provider has the setting, by its CRD. Who may not read
// that is not told of it.
func (m managementCluster) knowsReuse(ctx context.Context, kind string) bool {
	crds := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	crd, err := m.client.Resource(crds).Get(ctx, kind+".ipam.cluster.x-k8s.io", metav1.GetOptions{})
	if err != nil {
		return false
	}
	versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	for _, v := range versions {
		version, _ := v.(map[string]any)
		if _, ok, _ := unstructured.NestedFieldNoCopy(version, "schema", "openAPIV3Schema", "properties", "spec", "properties", "addressReuseGracePeriodSeconds"); ok {
			return true
		}
	}
	return false
}

// handed are the addresses that were given to machines.
func (m managementCluster) handed(ctx context.Context) (out []doctor.Handed, err error) {
	all, err := m.list(ctx, "ipam.cluster.x-k8s.io", "ipaddresses", "v1beta2", "v1beta1")
	for _, u := range all {
		h := doctor.Handed{Namespace: u.GetNamespace(), Name: u.GetName()}
		address, _, _ := unstructured.NestedString(u.Object, "spec", "address")
		h.Address, _ = netip.ParseAddr(address)
		h.Claim, _, _ = unstructured.NestedString(u.Object, "spec", "claimRef", "name")
		h.Pool, _, _ = unstructured.NestedString(u.Object, "spec", "poolRef", "name")
		out = append(out, h)
	}
	return out, err
}

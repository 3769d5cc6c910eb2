package gather

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

	"github.com/vipd-io/vipd/internal/config"
	"github.com/vipd-io/vipd/internal/doctor"
	"github.com/vipd-io/vipd/internal/manifest"
	"github.com/vipd-io/vipd/internal/staticpod"
	"github.com/vipd-io/vipd/internal/version"
)

const (
	// managementTimeout bounds all requests to a management cluster.
	managementTimeout = 4 * time.Second
	// pageSize is the number of objects per request, maxObjects the maximum per kind.
	pageSize, maxObjects = 500, 50_000
	clusterLabel         = "cluster.x-k8s.io/cluster-name"
)

// managementCluster reads the objects of a management cluster, in the newest served version of
// their API.
type managementCluster struct{ client dynamic.Interface }

func openManagement(path string) (managementCluster, error) {
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return managementCluster{}, fmt.Errorf("--management-kubeconfig: %s cannot be parsed as a kubeconfig", path) // the library's error may quote a key
	}
	config.UserAgent = "vipd-doctor/" + version.String()
	config.QPS = -1
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return managementCluster{}, fmt.Errorf("--management-kubeconfig: %w", err)
	}
	return managementCluster{client}, nil
}

// list returns all objects of a kind, or none if no version is served.
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
				return out, fmt.Errorf("list %s.%s: there are more than %d objects; the remaining ones were not checked", resource, group, maxObjects)
			}
			opts.Continue = page.GetContinue()
		}
	}
	return nil, nil
}

// readManagement reads the objects of the selected cluster, and sets the VIP if the request has
// none.
func (r *Request) readManagement(ctx context.Context) (*doctor.ManagementCluster, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Scale(managementTimeout))
	defer cancel()
	m, err := openManagement(r.Management)
	if err != nil {
		return nil, config.UsageError{Err: err}
	}
	out := &doctor.ManagementCluster{}
	if out.ControlPlane, err = m.controlPlane(ctx, r.Cluster); err != nil {
		return nil, err
	}
	var pools, handed error
	out.Pools, pools = m.pools(ctx)
	out.IPAddresses, handed = m.ipAddresses(ctx)
	out.Unread = errors.Join(pools, handed)
	return out, r.setVIP(out.ControlPlane)
}

// setVIP takes the VIP from the cluster's endpoint or, if that is a name or missing, from the
// VSphereCluster or from vipd's manifest.
func (r *Request) setVIP(p *doctor.ControlPlane) error {
	if r.VIP.IsValid() {
		return nil
	}
	if p != nil {
		if host, err := netip.ParseAddr(p.Host); err == nil {
			r.VIP, r.Port = host, p.Port
			return nil
		}
		if v := p.VSphere; v != nil && p.Host == "" {
			if host, err := netip.ParseAddr(v.Host); err == nil {
				r.VIP, r.Port = host, v.Port
				return nil
			}
		}
		if p.Vipd != nil {
			r.VIP, r.Port = p.Vipd.Address, p.Vipd.Port
			return nil
		}
	}
	return config.UsageError{Err: errors.New("--address: missing, and neither the cluster's endpoint nor a manifest of vipd in its KubeadmControlPlane has the VIP")}
}

// controlPlane returns the KubeadmControlPlane of a cluster, or nil.
func (m managementCluster) controlPlane(ctx context.Context, cluster string) (*doctor.ControlPlane, error) {
	all, err := m.list(ctx, "controlplane.cluster.x-k8s.io", "kubeadmcontrolplanes", "v1beta2", "v1beta1")
	if err != nil {
		return nil, err
	}
	clusters, err := m.list(ctx, "cluster.x-k8s.io", "clusters", "v1beta2", "v1beta1")
	if err != nil {
		return nil, err
	}
	var matches []unstructured.Unstructured
	var names []string
	for _, u := range all {
		name := u.GetNamespace() + "/" + clusterName(u, clusters)
		names = append(names, name)
		if cluster == "" || cluster == name {
			matches = append(matches, u)
		}
	}
	switch {
	case len(matches) > 1:
		return nil, config.UsageError{Err: fmt.Errorf("--cluster: missing; there are several clusters: %s", strings.Join(names, ", "))}
	case len(matches) == 0 && cluster != "":
		return nil, config.UsageError{Err: fmt.Errorf("--cluster: cluster %q has no KubeadmControlPlane; clusters with one are %q", cluster, names)}
	case len(matches) == 0:
		return nil, nil
	}
	p := controlPlaneOf(matches[0])
	p.Cluster = clusterName(matches[0], clusters)
	p.Templates, p.TemplatesUnread = m.templates(ctx, matches[0], p.Cluster)
	for _, u := range clusters {
		if u.GetNamespace() == p.Namespace && u.GetName() == p.Cluster {
			p.Host, p.Port = endpointOf(u)
			p.VSphere, p.Unread = m.vSphere(ctx, u)
			p.Networks = managedNetworks(u, matches[0])
		}
	}
	return p, nil
}

// endpointOf returns the controlPlaneEndpoint of a Cluster or of its infrastructure object, or ""
// and 0.
func endpointOf(u unstructured.Unstructured) (host string, port uint16) {
	host, _, _ = unstructured.NestedString(u.Object, "spec", "controlPlaneEndpoint", "host")
	n, _, _ := unstructured.NestedInt64(u.Object, "spec", "controlPlaneEndpoint", "port")
	return host, uint16(n)
}

// vSphere returns a cluster's VSphereCluster, or nil.
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

// clusterName returns the name of the cluster of a control plane: by the cluster's reference, or
// by Cluster API's label.
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
	p.Initialized = initialized(u)
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
			p.Lint = append(p.Lint, fmt.Sprintf("files[%d], %s: line %d has \"{#\", which starts a comment in cloud-init's Jinja templates", i, path, line))
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

// contentOf returns the content of a file, or "" for compressed and referenced content.
func contentOf(file map[string]any) string {
	content, _ := file["content"].(string)
	if file["encoding"] == "base64" {
		b, _ := base64.StdEncoding.DecodeString(content)
		return string(b)
	}
	return content
}

// jinjaComment returns the line of the first Jinja comment, or 0. Unlike {{ and {%, a comment is
// never intended: shell code such as ${#list[@]} contains {#.
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

// vipdFile parses a manifest of vipd; nil for other files.
func vipdFile(path, content string) *doctor.VipdFile {
	var pod corev1.Pod
	if len(content) > staticpod.MaxSize || yaml.Unmarshal([]byte(content), &pod) != nil || pod.Labels["app.kubernetes.io/name"] != "vipd" {
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

// pools reads the pools of the in-cluster IPAM provider.
func (m managementCluster) pools(ctx context.Context) (out []doctor.Pool, err error) {
	var errs []error
	for _, kind := range []string{"inclusterippools", "globalinclusterippools"} {
		all, err := m.list(ctx, "ipam.cluster.x-k8s.io", kind, "v1alpha2")
		errs = append(errs, err)
		known := len(all) > 0 && m.supportsReuse(ctx, kind)
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

// supportsReuse reports whether the provider's CRD has the grace period. The result is false if
// reading the CRD is forbidden.
func (m managementCluster) supportsReuse(ctx context.Context, kind string) bool {
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

// ipAddresses reads the allocations of addresses.
func (m managementCluster) ipAddresses(ctx context.Context) (out []doctor.IPAddress, err error) {
	all, err := m.list(ctx, "ipam.cluster.x-k8s.io", "ipaddresses", "v1beta2", "v1beta1")
	for _, u := range all {
		h := doctor.IPAddress{Namespace: u.GetNamespace(), Name: u.GetName()}
		address, _, _ := unstructured.NestedString(u.Object, "spec", "address")
		h.Address, _ = netip.ParseAddr(address)
		h.Claim, _, _ = unstructured.NestedString(u.Object, "spec", "claimRef", "name")
		h.Pool, _, _ = unstructured.NestedString(u.Object, "spec", "poolRef", "name")
		out = append(out, h)
	}
	return out, err
}

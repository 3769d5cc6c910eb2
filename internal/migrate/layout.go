package migrate

import (
	"path"
	"slices"
	"strings"

	"github.com/vipd-io/vipd/internal/manifest"
)

// installer is what set up a cluster, by the folders that it uses on a node, and its kinds in
// Cluster API.
type installer struct {
	name  string
	paths []string
	kinds []string
}

// installers are the installers whose folders differ from kubeadm's.
var installers = []installer{
	{name: "RKE2", paths: []string{"/rancher/rke2"}, kinds: []string{"RKE2ControlPlane", "RKE2ControlPlaneTemplate", "RKE2Config", "RKE2ConfigTemplate"}},
	{name: "k3s", paths: []string{"/rancher/k3s"}, kinds: []string{"KThreesControlPlane", "KThreesControlPlaneTemplate", "KThreesConfig", "KThreesConfigTemplate"}},
	{name: "k0s", paths: []string{"/var/lib/k0s", "/etc/k0s"}, kinds: []string{"K0sControlPlane", "K0sControlPlaneTemplate", "K0smotronControlPlane"}},
	{name: "MicroK8s", paths: []string{"/snap/microk8s"}, kinds: []string{"MicroK8sControlPlane", "MicroK8sControlPlaneTemplate"}},
	{name: "Talos", paths: []string{"/system/secrets"}, kinds: []string{"TalosControlPlane", "TalosControlPlaneTemplate", talos}},
}

// talos is given as the kind of Talos's machine configuration, which has none.
const talos = "machine.pods of Talos"

// installerOf returns the installer by a kind or by paths on a node, "" for kubeadm's and unknown
// ones.
func installerOf(kind string, paths []string) string {
	for _, i := range installers {
		if slices.Contains(i.kinds, kind) || slices.ContainsFunc(paths, i.uses) {
			return i.name
		}
	}
	if slices.ContainsFunc(paths, func(p string) bool {
		return strings.HasSuffix(path.Dir(p), "/agent/pod-manifests") || strings.HasSuffix(path.Dir(p), "/server/manifests")
	}) {
		return "RKE2 or k3s"
	}
	return ""
}

func (i installer) uses(p string) bool {
	return slices.ContainsFunc(i.paths, func(part string) bool { return strings.Contains(p+"/", part+"/") })
}

// hostPaths returns the paths on the node that a pod refers to, and its own.
func (r *reader) hostPaths() []string {
	paths := []string{r.pod.file}
	for _, v := range items(get(spec(r.pod.n), "volumes")) {
		paths = append(paths, str(get(v, "hostPath", "path")))
	}
	if v, ok := r.get("k8s_config_file"); ok {
		paths = append(paths, v.value)
	}
	return paths
}

// layout refuses manifests for nodes on which vipd's pod would not start.
func (r *reader) layout() error {
	const never = ": vipd's pod, which mounts them, could never start"
	if name := installerOf(r.pod.kind, r.hostPaths()); name != "" {
		return r.refuse(r.pod.n, "this is for nodes of "+name+", which have neither "+manifest.ManifestsDir+" nor "+manifest.DefaultPKI+never,
			"keep kube-vip there")
	}
	dir := path.Dir(r.pod.file)
	if slices.Contains([]string{"manifests", "pod-manifests", "static-pods", "kubelet.d"}, path.Base(dir)) && !strings.HasSuffix(dir, manifest.ManifestsDir) && !placeholder.MatchString(dir) {
		return r.refuse(r.pod.n, "static pods are in "+dir+" here, not in "+manifest.ManifestsDir+never,
			"put the output of `vipd manifest pod` there, with that folder in place of "+manifest.ManifestsDir)
	}
	return nil
}

package migrate

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/vipd-io/vipd/internal/manifest"
)

// installer is what set up a cluster, by the folders that it uses on a node, and its kinds in
// Cluster API.
type installer struct {
	name  string
	paths []string
	kinds []string
}

// installers are the installers whose folders differ from kubeadm's. vipd supports those that
// manifest.DistributionByName knows.
var installers = []installer{
	{name: "rke2", paths: []string{"/rancher/rke2"}, kinds: []string{"RKE2ControlPlane", "RKE2ControlPlaneTemplate", "RKE2Config", "RKE2ConfigTemplate"}},
	{name: "k3s", paths: []string{"/rancher/k3s"}, kinds: []string{"KThreesControlPlane", "KThreesControlPlaneTemplate", "KThreesConfig", "KThreesConfigTemplate"}},
	{name: "k0s", paths: []string{"/var/lib/k0s", "/etc/k0s"}, kinds: []string{"K0sControlPlane", "K0sControlPlaneTemplate", "K0smotronControlPlane"}},
	{name: "MicroK8s", paths: []string{"/snap/microk8s"}, kinds: []string{"MicroK8sControlPlane", "MicroK8sControlPlaneTemplate"}},
	{name: "Talos", paths: []string{"/system/secrets"}, kinds: []string{"TalosControlPlane", "TalosControlPlaneTemplate", talos}},
}

// talos is given as the kind of Talos's machine configuration, which has none.
const talos = "machine.pods of Talos"

// installerOf returns the installer by a kind or by paths on a node, "" if they do not tell.
func installerOf(kind string, paths []string) string {
	for _, i := range installers {
		if slices.Contains(i.kinds, kind) || slices.ContainsFunc(paths, i.uses) {
			return i.name
		}
	}
	if strings.HasPrefix(kind, "Kubeadm") {
		return manifest.Kubeadm.Name
	}
	return ""
}

// release matches a version of RKE2 or k3s.
var release = regexp.MustCompile(`^v?\d+\.\d+\.\d+[-+\w.]*\+(rke2|k3s)`)

// releaseOf returns the distribution by the version in the spec of an object, such as Rancher's Cluster,
// "" if that does not tell.
func releaseOf(object *yaml.Node) string {
	if object == nil {
		return ""
	}
	spec := get(root(object), "spec")
	for _, version := range []*yaml.Node{get(spec, "kubernetesVersion"), get(spec, "version"), get(spec, "topology", "version")} {
		if at := release.FindStringSubmatch(str(version)); at != nil {
			return at[1]
		}
	}
	return ""
}

// dataDir returns the data folder of RKE2 or k3s that contains one of the files, "" for none.
func dataDir(paths []string) string {
	for _, p := range paths {
		for _, in := range []string{"/agent/pod-manifests", "/server/manifests"} {
			if dir, ok := strings.CutSuffix(path.Dir(p), in); ok {
				return dir
			}
		}
	}
	return ""
}

// ofKubeadm tells whether a path is in kubeadm's folder, which others may have as well.
func ofKubeadm(p string) bool { return strings.HasPrefix(p, path.Dir(manifest.ManifestsDir)+"/") }

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

// layout finds the distribution, and refuses manifests for nodes on which vipd's pod would not start.
func (r *reader) layout() error {
	paths := r.hostPaths()
	name, data := cmp.Or(installerOf(r.pod.kind, paths), r.pod.release), dataDir(paths)
	given := r.options.Distribution
	switch {
	case name == "" && given == "" && data == "" && slices.ContainsFunc(paths, ofKubeadm):
		name = manifest.Kubeadm.Name
	case name == "":
		name = given
	case given != "" && name != given:
		return r.refuse(r.pod.n, "this is for nodes of "+name+", but --distribution is "+given, "omit --distribution")
	}
	if name == "" && (r.daemonSet || data != "") {
		return r.refuse(r.pod.n, "the manifest does not tell whether kubeadm, RKE2 or k3s made the cluster, and so where vipd finds the node's static pods",
			"add --distribution kubeadm, rke2 or k3s, and migrate again")
	}
	d, ok := manifest.DistributionByName(cmp.Or(name, manifest.Kubeadm.Name))
	if !ok {
		return r.refuse(r.pod.n, "this is for nodes of "+name+", which have neither "+manifest.ManifestsDir+" nor "+manifest.DefaultPKI+
			": vipd's pod, which mounts them, could never start", "keep kube-vip there")
	}
	if data != "" && d.DataDir != "" {
		d = d.In(data)
	}
	r.out.Distribution = d
	if why := mountable(d.Manifests); why != "" && !r.daemonSet {
		return r.refuse(r.pod.n, "vipd's pod cannot mount the folder of static pods: "+why, "write the whole path, without a colon, and migrate again")
	}
	return r.folder(d)
}

// staging matches folders from which a command copies files.
var staging = regexp.MustCompile(`^/(?:tmp|run|root|home)/`)

// folder refuses a static pod that is not in the distribution's folder of static pods, if the folder
// is one of kubelet's.
func (r *reader) folder(d manifest.Distribution) error {
	dir := path.Dir(r.pod.file)
	switch {
	case r.daemonSet || strings.HasSuffix(dir, d.Manifests) || placeholder.MatchString(dir):
		return nil
	case d.DataDir != "" && dir == d.Server()+"/manifests":
		return r.refuse(r.pod.n, d.Name+" applies what is in "+dir+": this Pod runs on one node, and never on another",
			"use the output of `vipd manifest daemonset`, or of `vipd manifest pod` in "+d.Manifests)
	case staging.MatchString(dir):
		return nil
	case slices.Contains([]string{"manifests", "pod-manifests", "static-pods", "kubelet.d"}, path.Base(dir)):
		return r.refuse(r.pod.n, "static pods are in "+dir+" here, not in "+d.Manifests+", which vipd's pod mounts, so that it could never start",
			"put the output of `vipd manifest pod` there, with that folder in place of "+d.Manifests)
	}
	return nil
}

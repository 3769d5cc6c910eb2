package gather

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/vipd-io/vipd/internal/doctor"
	"github.com/vipd-io/vipd/internal/printable"
	"github.com/vipd-io/vipd/internal/staticpod"
)

// Files of the node: static pods, SELinux, cloud-init.

// manifests returns the folder of static pods.
func (r *Request) manifests() string {
	if r.Status != nil && r.Status.Configuration["manifests"] != "" {
		return r.Status.Configuration["manifests"]
	}
	return r.distribution().Manifests
}

// staticPods reads the manifests of vipd and kube-vip.
func (r *Request) staticPods() ([]doctor.StaticPod, error) {
	entries, err := os.ReadDir(r.manifests())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []doctor.StaticPod
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") { // kubelet ignores these
			continue
		}
		file := filepath.Join(r.manifests(), e.Name())
		pod, err := staticpod.Read(file)
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed after ReadDir
		case err == nil && pod.Kind == "Pod" && staticpod.RunsVipd(pod):
			out = append(out, doctor.StaticPod{Path: file, Name: pod.Namespace + "/" + pod.Name, VIP: vipOf(pod), Vipd: true, References: references(pod), Confined: confinedContainers(pod)})
		case err == nil && pod.Kind == "Pod" && staticpod.RunsKubeVip(pod):
			out = append(out, doctor.StaticPod{Path: file, Name: pod.Namespace + "/" + pod.Name, References: references(pod)})
		case strings.Contains(e.Name(), "vipd") || strings.Contains(e.Name(), "kube-vip"):
			if broken := podError(pod, err); broken != "" {
				out = append(out, doctor.StaticPod{Path: file, Broken: broken})
			}
		}
	}
	return out, nil
}

// podError describes why a file is no pod, or returns "". The text quotes at most one line of
// the file.
func podError(pod corev1.Pod, err error) string {
	switch {
	case err != nil:
		return printable.String(err.Error())
	case pod.Kind != "Pod":
		return fmt.Sprintf("it is of kind %q", pod.Kind)
	}
	return ""
}

// vipOf returns the VIP in a manifest of vipd.
func vipOf(pod corev1.Pod) string {
	for _, c := range pod.Spec.Containers {
		for _, e := range c.Env {
			if (e.Name == "address" || e.Name == "VIPD_ADDRESS") && e.Value != "" {
				return e.Value
			}
		}
	}
	return ""
}

// confinedContainers returns the containers that a runtime with SELinux confines.
func confinedContainers(pod corev1.Pod) []string {
	podType := ""
	if s := pod.Spec.SecurityContext; s != nil && s.SELinuxOptions != nil {
		podType = s.SELinuxOptions.Type
	}
	var out []string
	for _, c := range pod.Spec.Containers {
		containerType := podType
		if s := c.SecurityContext; s != nil {
			if s.Privileged != nil && *s.Privileged {
				continue // runs as spc_t
			}
			if s.SELinuxOptions != nil && s.SELinuxOptions.Type != "" {
				containerType = s.SELinuxOptions.Type
			}
		}
		if containerType == "" || doctor.Confined(containerType) {
			out = append(out, "container "+c.Name)
		}
	}
	return out
}

// references returns the API objects for which kubelet refuses a static pod, without those of
// storage plugins (kubernetes 1.36: HasAPIObjectReference in pkg/api/pod/util.go).
func references(pod corev1.Pod) []string {
	var out []string
	add := func(is bool, format string, args ...any) {
		if text := fmt.Sprintf(format, args...); is && !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	spec := pod.Spec
	add(spec.ServiceAccountName != "", "the ServiceAccount %s", spec.ServiceAccountName)
	add(spec.DeprecatedServiceAccount != "", "the ServiceAccount %s", spec.DeprecatedServiceAccount)
	for _, s := range spec.ImagePullSecrets {
		add(true, "the Secret %s (imagePullSecrets)", s.Name)
	}
	for _, c := range append(slices.Clone(spec.InitContainers), spec.Containers...) {
		for _, e := range c.EnvFrom {
			add(e.SecretRef != nil, "a Secret (envFrom of %s)", c.Name)
			add(e.ConfigMapRef != nil, "a ConfigMap (envFrom of %s)", c.Name)
		}
		for _, e := range c.Env {
			add(e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil, "a Secret (%s of %s)", e.Name, c.Name)
			add(e.ValueFrom != nil && e.ValueFrom.ConfigMapKeyRef != nil, "a ConfigMap (%s of %s)", e.Name, c.Name)
		}
	}
	add(len(spec.ResourceClaims) > 0, "a ResourceClaim")
	for _, v := range spec.Volumes {
		add(v.Secret != nil, "a Secret (volume %s)", v.Name)
		add(v.ConfigMap != nil, "a ConfigMap (volume %s)", v.Name)
		add(v.PersistentVolumeClaim != nil || v.Ephemeral != nil, "a PersistentVolumeClaim (volume %s)", v.Name)
		add(v.CSI != nil, "a CSI driver (volume %s)", v.Name)
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			add(s.ServiceAccountToken != nil, "a ServiceAccount token (volume %s)", v.Name)
			add(s.Secret != nil, "a Secret (volume %s)", v.Name)
			add(s.ConfigMap != nil, "a ConfigMap (volume %s)", v.Name)
			add(s.ClusterTrustBundle != nil || s.PodCertificate != nil, "a certificate of the cluster (volume %s)", v.Name)
		}
	}
	return out
}

// kubernetesVersion returns the version of this node's API server, or the version that kubeadm
// will install. kubelet has the same version on machines that kubeadm created, and may be older
// during a manual upgrade. vipd starts no process to ask kubelet.
func (r *Request) kubernetesVersion() (version string, minor int) {
	pod, err := staticpod.Read(filepath.Join(r.manifests(), "kube-apiserver.yaml"))
	if err == nil && len(pod.Spec.Containers) > 0 {
		_, version, _ = strings.Cut(path.Base(pod.Spec.Containers[0].Image), ":")
	} else if text, err := os.ReadFile(kubeadmConfig); err == nil {
		if m := kubeadmVersion.FindSubmatch(text); m != nil {
			version = string(m[1])
		}
	}
	if _, err := fmt.Sscanf(version, "v1.%d.", &minor); err != nil {
		return "", 0
	}
	version, _, _ = strings.Cut(version, "@")
	return version, minor
}

var kubeadmVersion = regexp.MustCompile(`(?m)^kubernetesVersion: *"?([^"\s]+)`)

// selinux reads the SELinux state. The zero state means that SELinux is disabled or missing.
func selinux() (doctor.SELinux, error) {
	enforce, err := os.ReadFile("/sys/fs/selinux/enforce")
	if errors.Is(err, fs.ErrNotExist) {
		return doctor.SELinux{}, nil
	}
	if err != nil {
		return doctor.SELinux{}, err
	}
	s := doctor.SELinux{Enforcing: strings.TrimSpace(string(enforce)) == "1"}
	if !s.Enforcing {
		return s, nil
	}
	context, err := os.ReadFile("/proc/self/attr/current")
	s.Context = string(bytes.TrimRight(context, "\x00\n"))
	return s, err
}

// bootstrap reads the state of a Cluster API bootstrap: the bootstrap provider writes a file to
// /run/cluster-api at the beginning, and another one after kubeadm. Both files are lost at a
// reboot.
func bootstrap() (*doctor.Bootstrap, error) {
	if _, err := os.Stat("/run/cluster-api"); err != nil {
		return nil, ignoreNotExist(err)
	}
	if _, err := os.Stat("/run/cluster-api/bootstrap-success.complete"); !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	state, err := os.ReadFile("/run/cloud-init/status.json")
	if err != nil {
		return nil, ignoreNotExist(err) // Ignition, or vipd's container
	}
	b, err := parseCloudInit(state)
	if err != nil {
		return nil, fmt.Errorf("read /run/cloud-init/status.json: %w", err)
	}
	b.Output, err = tail("/var/log/cloud-init-output.log")
	return b, ignoreNotExist(err)
}

// ignoreNotExist returns nil for fs.ErrNotExist.
func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// parseCloudInit parses cloud-init's status.json: the current stage, null between stages and at
// the end, and the start and end of each stage.
func parseCloudInit(state []byte) (*doctor.Bootstrap, error) {
	type stage struct{ Start, Finished *float64 }
	var v struct {
		V1 struct {
			Stage *string
			Final stage `json:"modules-final"`
		}
	}
	if err := json.Unmarshal(state, &v); err != nil {
		return nil, err
	}
	final := v.V1.Final
	b := &doctor.Bootstrap{}
	if final.Finished != nil && *final.Finished > 0 {
		return b, nil
	}
	b.Stage = "an earlier stage than modules-final"
	if v.V1.Stage != nil && *v.V1.Stage != "" {
		b.Stage = *v.V1.Stage
	}
	if final.Start != nil {
		b.Since = time.UnixMicro(int64(*final.Start * 1e6))
	}
	return b, nil
}

// maxTail bounds the tail of a log.
const maxTail = 64 << 10

// tail reads the end of a file.
func tail(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.NewSectionReader(f, max(0, info.Size()-maxTail), maxTail))
	return string(b), err
}

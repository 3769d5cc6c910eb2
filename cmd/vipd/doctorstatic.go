package main

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

	"github.com/vipd-io/vipd/pkg/doctor"
)

// What lies on the node, for the doctor: static pods, SELinux, cloud-init.

// manifests is the folder of static pods.
func (c *consultation) manifests() string {
	if c.asked != nil && c.asked.Configuration["manifests"] != "" {
		return c.asked.Configuration["manifests"]
	}
	return "/etc/kubernetes/manifests"
}

// staticPods are the manifests of vipd and kube-vip.
func (c *consultation) staticPods() ([]doctor.StaticPod, error) {
	entries, err := os.ReadDir(c.manifests())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []doctor.StaticPod
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") { // as kubelet
			continue
		}
		file := filepath.Join(c.manifests(), e.Name())
		pod, err := readPod(file)
		switch {
		case errors.Is(err, fs.ErrNotExist): // just removed
		case err == nil && pod.Kind == "Pod" && runsVipd(pod):
			out = append(out, doctor.StaticPod{Path: file, Name: pod.Namespace + "/" + pod.Name, VIP: addressIn(pod), Vipd: true, References: references(pod), Confined: confined(pod)})
		case err == nil && pod.Kind == "Pod" && runsKubeVip(pod):
			out = append(out, doctor.StaticPod{Path: file, Name: pod.Namespace + "/" + pod.Name, References: references(pod)})
		case strings.Contains(e.Name(), "vipd") || strings.Contains(e.Name(), "kube-vip"):
			if broken := whyNoPod(pod, err); broken != "" {
				out = append(out, doctor.StaticPod{Path: file, Broken: broken})
			}
		}
	}
	return out, nil
}

// whyNoPod is "" for a pod; the error quotes no more than a line of the file.
func whyNoPod(pod corev1.Pod, err error) string {
	switch {
	case err != nil:
		return printable(err.Error())
	case pod.Kind != "Pod":
		return fmt.Sprintf("it is of kind %q", pod.Kind)
	}
	return ""
}

// runsVipd goes by the image's name, wherever it is mirrored.
func runsVipd(pod corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool {
		name, _, _ := strings.Cut(c.Image[strings.LastIndex(c.Image, "/")+1:], "@")
		name, _, _ = strings.Cut(name, ":")
		return name == "vipd"
	})
}

// addressIn is the VIP that a manifest of vipd has.
func addressIn(pod corev1.Pod) string {
	for _, c := range pod.Spec.Containers {
		for _, e := range c.Env {
			if (e.Name == "address" || e.Name == "VIPD_ADDRESS") && e.Value != "" {
				return e.Value
			}
		}
	}
	return ""
}

// confined are the containers that a runtime with SELinux would confine.
func confined(pod corev1.Pod) []string {
	whole := ""
	if s := pod.Spec.SecurityContext; s != nil && s.SELinuxOptions != nil {
		whole = s.SELinuxOptions.Type
	}
	var out []string
	for _, c := range pod.Spec.Containers {
		own := whole
		if s := c.SecurityContext; s != nil {
			if s.Privileged != nil && *s.Privileged {
				continue // the runtime gives it spc_t
			}
			if s.SELinuxOptions != nil && s.SELinuxOptions.Type != "" {
				own = s.SELinuxOptions.Type
			}
		}
		if own == "" || doctor.Confined(own) {
			out = append(out, "container "+c.Name)
		}
	}
	return out
}

// references are the API objects for which kubelet refuses a static pod, those of storage
// plugins left aside (kubernetes 1.36: HasAPIObjectReference in pkg/api/pod/util.go).
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

// kubernetesVersion is that of this node, whose kubelet is of the same version on a machine
// that kubeadm made, and may be an older one during an upgrade by hand: that of its API
// server, or that which kubeadm is to install. vipd starts no process to ask kubelet.
func (c *consultation) kubernetesVersion() (version string, minor int) {
	pod, err := readPod(filepath.Join(c.manifests(), "kube-apiserver.yaml"))
	if err == nil && len(pod.Spec.Containers) > 0 {
		_, version, _ = strings.Cut(path.Base(pod.Spec.Containers[0].Image), ":")
	} else if text, err := os.ReadFile("/run/kubeadm/kubeadm.yaml"); err == nil {
		if m := installs.FindSubmatch(text); m != nil {
			version = string(m[1])
		}
	}
	if _, err := fmt.Sscanf(version, "v1.%d.", &minor); err != nil {
		return "", 0
	}
	version, _, _ = strings.Cut(version, "@")
	return version, minor
}

var installs = regexp.MustCompile(`(?m)^kubernetesVersion: *"?([^"\s]+)`)

// selinux is not there where the kernel does not have it, or it is disabled.
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
	own, err := os.ReadFile("/proc/self/attr/current")
	s.Context = string(bytes.TrimRight(own, "\x00\n"))
	return s, err
}

// bootstrap is that of a machine that Cluster API makes: its provider writes a file into
// /run/cluster-api before anything else, and another one when kubeadm has finished. Both
// are gone after a reboot.
func bootstrap() (*doctor.Bootstrap, error) {
	if _, err := os.Stat("/run/cluster-api"); err != nil {
		return nil, absent(err)
	}
	if _, err := os.Stat("/run/cluster-api/bootstrap-success.complete"); !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	state, err := os.ReadFile("/run/cloud-init/status.json")
	if err != nil {
		return nil, absent(err) // Ignition, or vipd's container
	}
	b, err := cloudInit(state)
	if err != nil {
		return nil, fmt.Errorf("read /run/cloud-init/status.json: %w", err)
	}
	b.Output, err = tail("/var/log/cloud-init-output.log")
	return b, absent(err)
}

// absent makes nothing of what is not there.
func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// cloudInit reads the state as cloud-init writes it: the stage it is in, null between
// stages and at the end, and of each stage when it began and ended.
func cloudInit(state []byte) (*doctor.Bootstrap, error) {
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

// maxTail is what is read of a log.
const maxTail = 64 << 10

// tail is the end of a file.
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

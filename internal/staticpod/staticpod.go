// Package staticpod reads kubelet's static pods, to find those of vipd and kube-vip.
package staticpod

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// MaxSize bounds the size of a manifest, in bytes.
const MaxSize = 1 << 20

// KubeVipIn returns the path of a kube-vip manifest that holds a control-plane address, "" if there
// is none.
func KubeVipIn(folder string) (string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") { // as kubelet does
			continue
		}
		path := filepath.Join(folder, e.Name())
		pod, err := Read(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err == nil && RunsKubeVip(pod) {
			return path, nil
		}
		// kubelet does not run a file that is not a valid pod.
	}
	return "", nil
}

// Read reads a manifest; its content need not be a pod.
func Read(path string) (pod corev1.Pod, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return pod, err
	}
	if !info.Mode().IsRegular() || info.Size() > MaxSize {
		return pod, errors.New("not a manifest")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return pod, err
	}
	return pod, yaml.Unmarshal(b, &pod)
}

// RunsKubeVip tells whether the pod runs a kube-vip that holds a control-plane address. The name of
// the image decides, in any registry; a kube-vip for Services only does not count.
func RunsKubeVip(pod corev1.Pod) bool {
	for _, c := range pod.Spec.Containers {
		repository, _, _ := strings.Cut(c.Image[strings.LastIndex(c.Image, "/")+1:], "@")
		name, _, _ := strings.Cut(repository, ":")
		if name = strings.TrimSuffix(name, "-iptables"); name != "kube-vip" && !strings.HasSuffix(name, "-kube-vip") { // Rancher's mirrored-kube-vip-kube-vip
			continue
		}
		for _, e := range c.Env {
			if on, err := strconv.ParseBool(e.Value); e.Name == "cp_enable" && err == nil && on { // parsed as kube-vip does
				return true
			}
		}
	}
	return false
}

// RunsVipd tells whether the pod runs vipd. The name of the image decides, in any registry.
func RunsVipd(pod corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool {
		name, _, _ := strings.Cut(c.Image[strings.LastIndex(c.Image, "/")+1:], "@")
		name, _, _ = strings.Cut(name, ":")
		return name == "vipd"
	})
}

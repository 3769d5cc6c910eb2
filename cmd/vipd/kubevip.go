package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const (
	// kubeVipLook is how often the folder of static pods is looked at while a
	// kube-vip is in it.
	kubeVipLook = 2 * time.Second
	// kubeVipTell is how often it is told.
	kubeVipTell = 5 * time.Minute
	// maxManifest bounds what is read of a manifest, in bytes.
	maxManifest = 1 << 20
)

// awaitNoKubeVip returns when no kube-vip is among kubelet's static pods of this
// node; alone is false if ctx ended first. Both would campaign under the same name, and each would take
// the other's Lease for its own. It waits instead of ending: kubelet would start
// vipd again and again, later each time.
func awaitNoKubeVip(ctx context.Context, folder string, log *zap.Logger) (alone bool, err error) {
	if folder == "" {
		return true, nil
	}
	ticker := time.NewTicker(kubeVipLook)
	defer ticker.Stop()
	for looks := 0; ; looks++ {
		file, err := kubeVipIn(folder)
		if err != nil {
			return false, usageError{fmt.Errorf("--manifests: %w", err)}
		}
		if file == "" {
			return true, nil
		}
		if looks%int(kubeVipTell/kubeVipLook) == 0 {
			log.Error("kube-vip is on this node, too: waiting until it is gone, or both would hold the address",
				zap.String("manifest", file), zap.String("remedy", "remove "+file+" (and from the files of the KubeadmControlPlane); vipd goes on by itself"))
		}
		select {
		case <-ctx.Done():
			return false, nil
		case <-ticker.C:
		}
	}
}

// kubeVipIn is the manifest of a kube-vip that holds an address of the control
// plane, "" if there is none.
func kubeVipIn(folder string) (string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") { // as kubelet
			continue
		}
		path := filepath.Join(folder, e.Name())
		pod, err := readPod(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // just removed
		}
		if err == nil && runsKubeVip(pod) {
			return path, nil
		}
		// What is not a pod that can be read, kubelet does not run.
	}
	return "", nil
}

func readPod(path string) (pod corev1.Pod, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return pod, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxManifest {
		return pod, errors.New("no manifest")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return pod, err
	}
	return pod, yaml.Unmarshal(b, &pod)
}

// runsKubeVip goes by the image's name, wherever it is mirrored; one that is for
// Services only does not mind.
func runsKubeVip(pod corev1.Pod) bool {
	for _, c := range pod.Spec.Containers {
		repository, _, _ := strings.Cut(c.Image[strings.LastIndex(c.Image, "/")+1:], "@")
		name, _, _ := strings.Cut(repository, ":")
		if name != "kube-vip" && name != "kube-vip-iptables" {
			continue
		}
		for _, e := range c.Env {
			if on, err := strconv.ParseBool(e.Value); e.Name == "cp_enable" && err == nil && on { // as kube-vip
				return true
			}
		}
	}
	return false
}

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/vipd-io/vipd/pkg/doctor"
)

// What the doctor reads of a node's files.

// enforcing asks the kernel; without SELinux there is no such file.
func enforcing() (bool, error) {
	b, err := os.ReadFile("/sys/fs/selinux/enforce")
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return strings.TrimSpace(string(b)) == "1", err
}

// staticPodsIn are those of vipd in kubelet's folder, and what bears its name and is none.
func staticPodsIn(folder string) ([]doctor.StaticPod, error) {
	entries, err := os.ReadDir(folder)
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
		path := filepath.Join(folder, e.Name())
		pod, err := readPod(path)
		switch {
		case errors.Is(err, fs.ErrNotExist): // just removed
		case err == nil && runsVipd(pod):
			out = append(out, doctor.StaticPod{Path: path, Vipd: true, References: references(pod), Confined: confined(pod)})
		case strings.Contains(e.Name(), "vipd") && (err != nil || pod.Kind != "Pod"):
			why := "it has no kind: Pod"
			if err != nil {
				why = printable(err.Error())
			}
			out = append(out, doctor.StaticPod{Path: path, Broken: why})
		}
	}
	return out, nil
}

func runsVipd(pod corev1.Pod) bool {
	if pod.Kind != "Pod" {
		return false
	}
	if pod.Labels["app.kubernetes.io/name"] == "vipd" {
		return true
	}
	for _, c := range pod.Spec.Containers {
		image, _, _ := strings.Cut(c.Image[strings.LastIndex(c.Image, "/")+1:], "@")
		if name, _, _ := strings.Cut(image, ":"); name == "vipd" {
			return true
		}
	}
	return false
}

// references are the API objects that a pod refers to, for which kubelet does not start it
// as a static one (pkg/kubelet/config/common.go and pkg/api/pod/util.go of Kubernetes).
func references(pod corev1.Pod) (out []string) {
	if name := pod.Spec.ServiceAccountName; name != "" {
		out = append(out, "ServiceAccount "+name)
	}
	for _, s := range pod.Spec.ImagePullSecrets {
		out = append(out, "Secret "+s.Name)
	}
	for _, v := range pod.Spec.Volumes {
		switch {
		case v.Secret != nil:
			out = append(out, "Secret "+v.Secret.SecretName)
		case v.ConfigMap != nil:
			out = append(out, "ConfigMap "+v.ConfigMap.Name)
		case v.PersistentVolumeClaim != nil:
			out = append(out, "PersistentVolumeClaim "+v.PersistentVolumeClaim.ClaimName)
		case v.Projected != nil || v.CSI != nil || v.Ephemeral != nil:
			out = append(out, "what volume "+v.Name+" is made of")
		}
	}
	for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		for _, e := range c.EnvFrom {
			if e.SecretRef != nil {
				out = append(out, "Secret "+e.SecretRef.Name)
			}
			if e.ConfigMapRef != nil {
				out = append(out, "ConfigMap "+e.ConfigMapRef.Name)
			}
		}
		for _, e := range c.Env {
			if e.ValueFrom == nil {
				continue
			}
			if ref := e.ValueFrom.SecretKeyRef; ref != nil {
				out = append(out, "Secret "+ref.Name)
			}
			if ref := e.ValueFrom.ConfigMapKeyRef; ref != nil {
				out = append(out, "ConfigMap "+ref.Name)
			}
		}
	}
	return out
}

// confined tells whether SELinux confines one of a pod's containers.
func confined(pod corev1.Pod) bool {
	all := ""
	if s := pod.Spec.SecurityContext; s != nil && s.SELinuxOptions != nil {
		all = s.SELinuxOptions.Type
	}
	for _, c := range pod.Spec.Containers {
		kind, privileged := all, false
		if s := c.SecurityContext; s != nil {
			if s.SELinuxOptions != nil {
				kind = s.SELinuxOptions.Type
			}
			privileged = s.Privileged != nil && *s.Privileged
		}
		if kind != "spc_t" && !privileged {
			return true
		}
	}
	return false
}

// maxLog is how much is read of the end of a log, in bytes.
const maxLog = 16 << 10

// bootstrap reads what Cluster API's and cloud-init's documented files say. After a
// reboot they are gone, and the machine is a node or not.
func bootstrap() (b doctor.Bootstrap, err error) {
	if b.Ours, err = exists("/run/cluster-api"); err != nil || !b.Ours {
		return b, err
	}
	if b.Done, err = exists("/run/cluster-api/bootstrap-success.complete"); err != nil || b.Done {
		return b, err
	}
	ended, err := exists("/run/cloud-init/result.json")
	if err != nil {
		return b, err
	}
	b.Running = !ended
	if ended {
		var result struct{ V1 struct{ Errors []string } }
		if text, err := os.ReadFile("/run/cloud-init/result.json"); err == nil && json.Unmarshal(text, &result) == nil {
			for _, e := range result.V1.Errors {
				b.Errors = append(b.Errors, printable(e))
			}
		}
	}
	b.Last, err = lastLine("/var/log/cloud-init-output.log")
	return b, err
}

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// lastLine is the last one of a file that is not empty, "" if there is none.
func lastLine(path string) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.NewSectionReader(f, max(0, size-maxLog), maxLog))
	b = bytes.TrimSpace(b)
	return printable(string(b[bytes.LastIndexByte(b, '\n')+1:])), err
}

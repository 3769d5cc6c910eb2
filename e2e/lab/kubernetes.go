package lab

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// kubernetes are the versions of Kubernetes that a lab can run, by minor version, as the modules in
// ../binaries pin them.
var kubernetes = map[string]string{
	"1.35": "v1.35.4",
	"1.36": "v1.36.3",
	"1.37": "v1.37.2",
}

const (
	// kubernetesVariable names the environment variable that chooses the minor version.
	kubernetesVariable = "K8S"
	newestKubernetes   = "1.37"
)

// kubernetesMinor returns the chosen minor version, the newest by default.
func kubernetesMinor() (string, error) {
	minor := os.Getenv(kubernetesVariable)
	if minor == "" {
		return newestKubernetes, nil
	}
	if _, ok := kubernetes[minor]; !ok {
		return "", fmt.Errorf("%s=%s: there is no such version in e2e/binaries, only %s", kubernetesVariable, minor,
			strings.Join(slices.Sorted(maps.Keys(kubernetes)), ", "))
	}
	return minor, nil
}

// OlderKubernetes returns the minor version before that of the lab, "" if the lab cannot run one.
func OlderKubernetes() string {
	minor, err := kubernetesMinor()
	if err != nil {
		return ""
	}
	all := slices.Sorted(maps.Keys(kubernetes))
	if i := slices.Index(all, minor); i > 0 {
		return all[i-1]
	}
	return ""
}

// KubernetesVersion returns the version of the lab's Kubernetes, "" if the lab cannot run the chosen
// one, which Build refuses.
func KubernetesVersion() string {
	minor, err := kubernetesMinor()
	if err != nil {
		return ""
	}
	return kubernetes[minor]
}

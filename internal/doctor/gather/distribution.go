package gather

import (
	"os"
	"path/filepath"

	"github.com/vipd-io/vipd/internal/manifest"
)

// distribution returns what made this node: by the folder of static pods that its vipd has, or by
// the folders that there are below root. RKE2 and k3s make their folder of static pods on agents,
// too; before their first start, it is there if somebody put vipd's manifest into it.
func distribution(root, manifests string) manifest.Distribution {
	for _, d := range manifest.Distributions {
		if d.Manifests == manifests {
			return d
		}
	}
	for _, d := range manifest.Distributions {
		if d.DataDir == "" {
			continue // whoever installs RKE2 may have made /etc/kubernetes, too
		}
		for _, folder := range []string{d.Server(), d.Manifests} {
			if info, err := os.Stat(filepath.Join(root, folder)); err == nil && info.IsDir() {
				return d
			}
		}
	}
	return manifest.Kubeadm
}

// distribution returns what made this node.
func (r *Request) distribution() manifest.Distribution {
	manifests := ""
	if r.Status != nil {
		manifests = r.Status.Configuration["manifests"]
	}
	return distribution("/", manifests)
}

// ca returns the path of the cluster's CA certificate.
func (r *Request) ca() string {
	if r.CA != "" {
		return r.CA
	}
	return r.distribution().CA
}

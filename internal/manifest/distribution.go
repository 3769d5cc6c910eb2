package manifest

import (
	"fmt"
	"path"
	"strconv"
)

// Distribution is where an installer of Kubernetes keeps what vipd needs on a control-plane node.
type Distribution struct {
	// Name is kubeadm, rke2 or k3s.
	Name string
	// DataDir is the folder that the other paths are in, and that the installer's --data-dir
	// replaces, "" for kubeadm, which has none.
	DataDir string
	// Manifests is the folder of kubelet's static pods. The installer creates the folder before it
	// starts kubelet.
	Manifests string
	// PKI is the folder with the CA and its key, which exist before kubelet starts.
	PKI string
	// CA is the certificate of the CA of the API servers.
	CA string
	// Kubeconfig has all rights. It is written when the first API server serves, and later.
	Kubeconfig string
	// JoinPort is the port at which nodes join, if that is not the API server's.
	JoinPort uint16
}

// Kubeadm is the default distribution.
var Kubeadm = Distribution{
	Name: "kubeadm", Manifests: ManifestsDir, PKI: DefaultPKI, CA: DefaultPKI + "/ca.crt", Kubeconfig: "/etc/kubernetes/admin.conf",
}

// Distributions are all distributions, the default first.
var Distributions = []Distribution{Kubeadm, rancher("rke2", 9345), rancher("k3s", 0)}

// rancher returns the layout of RKE2 and k3s, which share the code (k3s: pkg/agent/config,
// DefaultPodManifestPath; pkg/daemons/control/deps, CreateRuntimeCertFiles).
func rancher(name string, joinPort uint16) Distribution {
	d := Distribution{Name: name, Kubeconfig: "/etc/rancher/" + name + "/" + name + ".yaml", JoinPort: joinPort}
	return d.In("/var/lib/rancher/" + name)
}

// In returns the layout of RKE2 or k3s in another data folder.
func (d Distribution) In(dataDir string) Distribution {
	d.DataDir = dataDir
	d.Manifests = path.Join(dataDir, "agent/pod-manifests")
	d.PKI = path.Join(dataDir, "server/tls")
	d.CA = path.Join(d.PKI, "server-ca.crt")
	return d
}

// NotAPIServer says that a port of a node is not the API server's, "" if it may be.
func (d Distribution) NotAPIServer(port string) string {
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || uint16(n) != d.JoinPort {
		return ""
	}
	return fmt.Sprintf("%d is the port of %s at which nodes join, which the VIP serves anyway, and not the API server's: with it, vipd would never reach the API server", d.JoinPort, d.Name)
}

// Server is a folder that exists on a control-plane node from its first start on.
func (d Distribution) Server() string { return path.Dir(d.PKI) }

// DistributionByName returns a distribution, and whether there is one of that name.
func DistributionByName(name string) (Distribution, bool) {
	for _, d := range Distributions {
		if d.Name == name {
			return d, true
		}
	}
	return Distribution{}, false
}

// DistributionNames are the names of all distributions.
func DistributionNames() (out []string) {
	for _, d := range Distributions {
		out = append(out, d.Name)
	}
	return out
}

package kubeadm

import (
	"context"
	"fmt"
)

// InitRancher makes the first node with the folders and CAs of RKE2 or k3s, which themselves do not run here:
// the static pods are in their folder, and one CA signs clients, another one servers. kubeadm starts the
// control plane.
func (c *Cluster) InitRancher(ctx context.Context, distribution string) error {
	data := "/var/lib/rancher/" + distribution
	return c.InitBy(ctx, func(ctx context.Context, m *Machine) error {
		pod, err := c.vipdPod(ctx, "--distribution", distribution)
		if err != nil {
			return err
		}
		const planted = "etc/kubernetes/vipd.yaml"
		if err := m.write(planted, pod); err != nil {
			return err
		}
		if out, err := m.Run(ctx, "sh", "-c", layOut, "sh", data, "/"+planted); err != nil {
			return fmt.Errorf("lay out %s on %s: %w\n%s", data, m.Name, err, out)
		}
		return c.kubeadm(ctx, m, "init.yaml", map[string]any{"ClientCAs": clientCAs}, "init", "--upload-certs")
	})
}

// clientCAs is the file of the CAs whose clients the API server trusts: of kubeadm's components, and of the
// distribution's.
const clientCAs = "/etc/kubernetes/pki/clients.crt"

// layOut makes the folders of a distribution: sh -c layOut sh DATA POD.
const layOut = `set -eu
pki=/etc/kubernetes/pki tls=$1/server/tls
mkdir -p "$1/agent/pod-manifests" "$tls"
kubeadm init phase certs ca --cert-dir "$pki"
kubeadm init phase certs ca --cert-dir "$tls"
mv "$tls/ca.crt" "$tls/client-ca.crt"
mv "$tls/ca.key" "$tls/client-ca.key"
cp "$pki/ca.crt" "$tls/server-ca.crt"
cat "$pki/ca.crt" "$tls/client-ca.crt" > ` + clientCAs + `
rm -rf /etc/kubernetes/manifests
ln -s "$1/agent/pod-manifests" /etc/kubernetes/manifests
mv "$2" "$1/agent/pod-manifests/"
`

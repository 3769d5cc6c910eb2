package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"

	"golang.org/x/sync/errgroup"
)

// kubeadmConfig is what kubeadm needs to create one node's files without the network: a version, an
// address, a name, and the socket of a container runtime, which it would otherwise look for.
var kubeadmConfig = template.Must(template.New("kubeadm").Parse(`apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint:
  advertiseAddress: {{.Node.IP}}
  bindPort: {{.Port}}
nodeRegistration:
  name: "{{.Node.Name}}"
  criSocket: unix:///run/containerd/containerd.sock
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: {{.Version}}
clusterName: "{{.Cluster}}"
certificatesDir: {{.Node.PKI}}
controlPlaneEndpoint: {{.VIP}}:{{.Port}}
encryptionAlgorithm: ECDSA-P256
networking:
  serviceSubnet: {{.ServiceSubnet}}
`))

// sharedPKI is what `kubeadm init --upload-certs` and `kubeadm join --control-plane` copy from the
// first node to the others.
var sharedPKI = []string{
	"ca.crt", "ca.key", "sa.key", "sa.pub", "front-proxy-ca.crt", "front-proxy-ca.key", "etcd/ca.crt", "etcd/ca.key",
}

// makePKI creates every node's certificates and kubeconfigs: the first node's with new CAs, the
// others' with the same CAs.
func (l *Lab) makePKI(ctx context.Context, kubeadm string) error {
	first := l.Nodes[0]
	if err := first.makePKI(ctx, kubeadm, l.Name); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, n := range l.Nodes[1:] {
		g.Go(func() error {
			for _, name := range sharedPKI {
				if err := copyFile(filepath.Join(first.PKI(), name), filepath.Join(n.PKI(), name), 0o600); err != nil {
					return fmt.Errorf("share PKI with %s: %w", n.Name, err)
				}
			}
			return n.makePKI(ctx, kubeadm, l.Name)
		})
	}
	return g.Wait()
}

func (n *Node) makePKI(ctx context.Context, kubeadm, cluster string) error {
	var text strings.Builder
	err := kubeadmConfig.Execute(&text, map[string]any{
		"Node": n, "VIP": n.lab.VIP, "Port": Port, "Version": KubernetesVersion(), "Cluster": cluster, "ServiceSubnet": serviceSubnet,
	})
	if err != nil {
		return fmt.Errorf("write kubeadm config of %s: %w", n.Name, err)
	}
	config := filepath.Join(n.Dir, "kubeadm.yaml")
	if err := os.WriteFile(config, []byte(text.String()), 0o600); err != nil {
		return fmt.Errorf("write kubeadm config of %s: %w", n.Name, err)
	}
	for _, phase := range [][]string{
		{"certs", "all"},
		{"kubeconfig", "admin", "--kubeconfig-dir", n.Dir},
		{"kubeconfig", "super-admin", "--kubeconfig-dir", n.Dir},
	} {
		args := append([]string{"init", "phase"}, phase...)
		cmd := exec.CommandContext(ctx, kubeadm, append(args, "--config", config)...)
		out, err := n.output(cmd)
		if err != nil {
			return fmt.Errorf("run kubeadm %s on %s: %w\n%s", strings.Join(args, " "), n.Name, err, tail(out, 8))
		}
	}
	return nil
}

// Run runs a command on the host to its end, and returns its output.
func (h *Host) Run(ctx context.Context, argv ...string) (string, error) {
	if len(argv) == 0 {
		return "", fmt.Errorf("run on %s: no command", h.Name)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = environ()
	out, err := h.output(cmd)
	if err != nil {
		return out, fmt.Errorf("run %s on %s: %w\n%s", filepath.Base(argv[0]), h.Name, err, tail(out, 8))
	}
	return out, nil
}

// output runs a command in the host's namespace and returns its output.
func (h *Host) output(cmd *exec.Cmd) (string, error) {
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := h.NS.Do(cmd.Start); err != nil {
		return "", err
	}
	err := cmd.Wait()
	return out.String(), err
}

// copyFile copies a file and creates the folder of its destination.
func copyFile(from, to string, mode os.FileMode) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, b, mode)
}

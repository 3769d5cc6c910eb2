package kubeadm_test

import (
	"crypto/x509"
	"encoding/pem"
	"testing"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/vipd-io/vipd/e2e/kubeadm"
)

// TestRancher runs the static pod for RKE2 and k3s on a node with their folders and CAs and a real
// kubelet: the VIP answers, by a certificate of the CA of clients.
func TestRancher(t *testing.T) {
	for _, distribution := range []string{"rke2", "k3s"} {
		t.Run(distribution, func(t *testing.T) {
			if distribution != "rke2" && !*flagAll {
				t.Skip("the same but for its folder: make nightly")
			}
			err := kubeadm.WithOne(t.Context(), func(c *kubeadm.Cluster) error {
				t.Cleanup(func() {
					if t.Failed() {
						keep(t, c)
					}
				})
				if err := c.InitRancher(t.Context(), distribution); err != nil {
					return err
				}
				if _, err := c.Ready(t.Context()); err != nil {
					return err
				}
				signedByClientCA(t, c.Nodes[0], distribution)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// signedByClientCA checks who signed vipd's certificate.
func signedByClientCA(t *testing.T, n *kubeadm.Node, distribution string) {
	t.Helper()
	ca, err := n.Run(t.Context(), "cat", "/var/lib/rancher/"+distribution+"/server/tls/client-ca.crt")
	if err != nil {
		t.Fatal(err)
	}
	text, err := n.Run(t.Context(), "cat", "/etc/vipd/kubeconfig")
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(config.CertData)
	if block == nil {
		t.Fatal("no certificate in vipd's kubeconfig")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(ca))
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("vipd's certificate: %v", err)
	}
}

package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"path/filepath"
	"time"
)

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// proxyCertificate creates a certificate, signed by the cluster's CA, for every name and address
// that vipd may use for an API server.
func (n *Node) proxyCertificate() (tls.Certificate, error) {
	ca, err := tls.LoadX509KeyPair(n.CAFile(), filepath.Join(n.PKI(), "ca.key"))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("read cluster CA: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: "lab-proxy"},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"kubernetes", "localhost"},
		IPAddresses: []net.IP{loopback.AsSlice(), n.lab.VIP.AsSlice()},
	}
	for _, m := range n.lab.Nodes {
		template.DNSNames = append(template.DNSNames, m.Name)
		template.IPAddresses = append(template.IPAddresses, m.IP.AsSlice())
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Leaf, key.Public(), ca.PrivateKey)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("sign certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

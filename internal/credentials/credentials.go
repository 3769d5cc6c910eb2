// Package credentials creates vipd's credentials: a client certificate from the cluster's CA, in a
// kubeconfig on the node. A static pod can have no ServiceAccount, and kubeadm's admin.conf has all
// rights; this certificate has the rights of vipd's RBAC only, and expires soon.
package credentials

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// CA is the cluster's certificate authority, which signs client certificates.
type CA struct {
	// PEM is the certificate of the authority of the API servers: kubeadm has one authority for
	// both, RKE2 and k3s have two.
	PEM  []byte
	cert *x509.Certificate
	key  crypto.Signer
}

// maxFile bounds the size of a file in bytes; a key has about 2 kB.
const maxFile = 64 << 10

// ErrNoKey means that this node has the certificate of the CA but not its key, as with kubeadm's
// external CA.
var ErrNoKey = errors.New("the CA's key is not on this node")

// layout names the files of an authority in its folder.
type layout struct{ cert, key, servers string }

// layouts are those of kubeadm, and of RKE2 and k3s (k3s: CreateRuntimeCertFiles in
// pkg/daemons/control/deps).
var layouts = []layout{{"ca.crt", "ca.key", "ca.crt"}, {"client-ca.crt", "client-ca.key", "server-ca.crt"}}

// find returns the layout of a folder, and the certificate.
func find(folder string) (l layout, certPEM []byte, err error) {
	for _, l = range layouts {
		if certPEM, err = read(filepath.Join(folder, l.cert)); !errors.Is(err, os.ErrNotExist) {
			return l, certPEM, err
		}
	}
	return l, nil, fmt.Errorf("%s has neither %s nor %s: %w", folder, layouts[0].cert, layouts[1].cert, os.ErrNotExist)
}

// LoadCA reads certificate and key from the folder of kubeadm (ca.crt) or of RKE2 and k3s
// (client-ca.crt, server-ca.crt). The error is ErrNoKey if there is no key.
func LoadCA(folder string) (CA, error) {
	l, certPEM, err := find(folder)
	if err != nil {
		return CA{}, fmt.Errorf("read CA: %w", err)
	}
	// The first certificate of a chain is that of the key.
	block, _ := pem.Decode(certPEM)
	if block == nil {
		return CA{}, fmt.Errorf("read CA: %s holds no certificate", filepath.Join(folder, l.cert))
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return CA{}, fmt.Errorf("read CA: %w", err)
	}
	keyPEM, err := read(filepath.Join(folder, l.key))
	if errors.Is(err, os.ErrNotExist) {
		return CA{}, fmt.Errorf("read CA: %w", ErrNoKey)
	}
	if err != nil {
		return CA{}, fmt.Errorf("read CA: %w", err)
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return CA{}, fmt.Errorf("read CA: %s %w", l.key, err)
	}
	if public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(cert.PublicKey) {
		return CA{}, fmt.Errorf("read CA: %s is not the key of %s", l.key, l.cert)
	}
	servers, err := read(filepath.Join(folder, l.servers))
	if err != nil {
		return CA{}, fmt.Errorf("read CA of the API servers: %w", err)
	}
	return CA{PEM: servers, cert: cert, key: key}, nil
}

func read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("%s is no file of at most %d bytes", path, maxFile)
	}
	return os.ReadFile(path)
}

// parseKey accepts the formats of kubeadm and openssl. Its errors never quote the key.
func parseKey(b []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if k, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
			return k, nil
		}
		if k, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
			return k, nil
		}
		if k, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if signer, ok := k.(crypto.Signer); ok {
				return signer, nil
			}
		}
	}
	return nil, errors.New("holds no private key that can sign")
}

// Subject is the subject of a certificate.
type Subject struct{ Name, Group string }

// Pair is a client certificate and its key, in PEM.
type Pair struct{ Certificate, Key []byte }

// backdate covers nodes whose clocks differ.
const backdate = 5 * time.Minute

// Mint creates a client certificate that is valid for life from now on, but not longer than the CA.
func (ca CA) Mint(s Subject, now time.Time, life time.Duration) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("make key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // RFC 5280, 4.1.2.2
	if err != nil {
		return Pair{}, fmt.Errorf("make serial number: %w", err)
	}
	end := now.Add(life)
	if end.After(ca.cert.NotAfter) {
		end = ca.cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: s.Name, Organization: []string{s.Group}},
		NotBefore:    now.Add(-backdate).UTC(),
		NotAfter:     end.UTC(),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, ca.cert, key.Public(), ca.key)
	if err != nil {
		return Pair{}, fmt.Errorf("sign certificate: %w", err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("encode key: %w", err)
	}
	return Pair{
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}),
	}, nil
}

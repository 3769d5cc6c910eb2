package credentials

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

var (
	subject = Subject{Name: "vipd:n1", Group: "vipd:control-plane"}
	now     = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
)

// authority writes a CA in the format of kubeadm (RSA, PKCS #1) or of openssl (EC, PKCS #8).
func authority(t *testing.T, kind string) string {
	t.Helper()
	var key crypto.Signer
	var block *pem.Block
	switch kind {
	case "rsa":
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		must(t, err)
		key, block = k, &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}
	default:
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(t, err)
		der, err := x509.MarshalPKCS8PrivateKey(k)
		must(t, err)
		key, block = k, &pem.Block{Type: "PRIVATE KEY", Bytes: der}
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kubernetes"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(10 * 24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "ca.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "ca.key"), pem.EncodeToMemory(block), 0o600))
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, dir string) CA {
	t.Helper()
	ca, err := LoadCA(dir)
	must(t, err)
	return ca
}

func TestMint(t *testing.T) {
	for _, kind := range []string{"rsa", "ec"} {
		t.Run(kind, func(t *testing.T) {
			ca := load(t, authority(t, kind))
			pair, err := ca.Mint(subject, now, 7*24*time.Hour)
			must(t, err)
			block, _ := pem.Decode(pair.Certificate)
			cert, err := x509.ParseCertificate(block.Bytes)
			must(t, err)
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(ca.PEM)
			for _, at := range []time.Time{now, now.Add(-time.Minute), now.Add(7*24*time.Hour - time.Minute)} {
				if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
					t.Errorf("at %s: %v", at, err)
				}
			}
			if cert.IsCA || cert.Subject.CommonName != "vipd:n1" || cert.Subject.Organization[0] != "vipd:control-plane" || len(cert.ExtKeyUsage) != 1 {
				t.Errorf("certificate = %+v", cert.Subject)
			}
			if long, err := ca.Mint(subject, now, 365*24*time.Hour); err != nil || expiry(t, long).After(now.Add(10*24*time.Hour)) {
				t.Errorf("outlives its CA: %v", err)
			}
		})
	}
}

// expiry returns when the certificate of a pair expires.
func expiry(t *testing.T, p Pair) time.Time {
	t.Helper()
	block, _ := pem.Decode(p.Certificate)
	cert, err := x509.ParseCertificate(block.Bytes)
	must(t, err)
	return cert.NotAfter
}

func TestLoadCA(t *testing.T) {
	one, other := authority(t, "ec"), authority(t, "ec")
	key, err := os.ReadFile(filepath.Join(other, "ca.key"))
	must(t, err)
	for _, tt := range []struct {
		name  string
		spoil func() error
		err   string
	}{
		{"key of another", func() error { return os.WriteFile(filepath.Join(one, "ca.key"), key, 0o600) }, "is not the key of ca.crt"},
		{"no key in it", func() error { return os.WriteFile(filepath.Join(one, "ca.key"), []byte("secret"), 0o600) }, "holds no private key"},
		{"no key", func() error { return os.Remove(filepath.Join(one, "ca.key")) }, ErrNoKey.Error()},
		{"no certificate in it", func() error { return os.WriteFile(filepath.Join(one, "ca.crt"), nil, 0o600) }, "holds no certificate"},
		{"no certificate", func() error { return os.Remove(filepath.Join(one, "ca.crt")) }, "has neither ca.crt nor client-ca.crt: file does not exist"},
	} {
		must(t, tt.spoil())
		_, err := LoadCA(one)
		if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// TestTwoAuthorities: with the folder of RKE2 and k3s, the API server verifies the client by one
// authority, and the client verifies the API server by the other.
func TestTwoAuthorities(t *testing.T) {
	clients, servers, folder := authority(t, "ec"), authority(t, "ec"), t.TempDir()
	for from, to := range map[string]string{clients + "/ca.crt": "client-ca.crt", clients + "/ca.key": "client-ca.key",
		servers + "/ca.crt": "server-ca.crt", servers + "/ca.key": "server-ca.key"} {
		b, err := os.ReadFile(from)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(folder, to), b, 0o600))
	}
	ca := load(t, folder)
	pair, err := ca.Mint(subject, now, time.Hour)
	must(t, err)
	text, err := Kubeconfig(ca, pair, "127.0.0.1:6443")
	must(t, err)
	var k kubeconfig
	must(t, yaml.Unmarshal(text, &k))
	verify := func(cert []byte, dir string, usage x509.ExtKeyUsage) error {
		block, _ := pem.Decode(cert)
		c, err := x509.ParseCertificate(block.Bytes)
		must(t, err)
		pool := x509.NewCertPool()
		pool.AddCert(load(t, dir).cert)
		_, err = c.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}})
		return err
	}
	if err := verify(k.Users[0].User.Certificate, clients, x509.ExtKeyUsageClientAuth); err != nil {
		t.Errorf("the client's certificate: %v", err)
	}
	if err := verify(k.Users[0].User.Certificate, servers, x509.ExtKeyUsageClientAuth); err == nil {
		t.Error("the client's certificate is of the authority of the servers")
	}
	if err := verify(k.Clusters[0].Cluster.CA, servers, x509.ExtKeyUsageAny); err != nil {
		t.Errorf("the authority of the servers: %v", err)
	}
	path := filepath.Join(folder, "kubeconfig")
	must(t, Write(path, text))
	if _, why := Due(path, ca, subject); why != "" {
		t.Errorf("a new one is due: %s", why)
	}
	must(t, os.Remove(filepath.Join(folder, "server-ca.crt")))
	if _, err := LoadCA(folder); err == nil || !strings.Contains(err.Error(), "CA of the API servers") {
		t.Errorf("without the authority of the servers: %v", err)
	}
}

func TestDue(t *testing.T) {
	dir := authority(t, "ec")
	ca, other := load(t, dir), load(t, authority(t, "ec"))
	path := filepath.Join(t.TempDir(), "kubeconfig")
	write := func(ca CA, s Subject) {
		pair, err := ca.Mint(s, now, 6*24*time.Hour)
		must(t, err)
		b, err := Kubeconfig(ca, pair, "127.0.0.1:6443")
		must(t, err)
		must(t, Write(path, b))
	}
	if at, why := Due(path, ca, subject); !at.IsZero() || why == "" {
		t.Errorf("without one: %s %q", at, why)
	}
	write(ca, subject)
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %s, %v", info.Mode(), err)
	}
	if at, why := Due(path, ca, subject); why != "" || at.Before(now.Add(3*24*time.Hour)) || at.After(now.Add(5*24*time.Hour)) {
		t.Errorf("a good one is due at %s, %q", at, why)
	}
	for want, change := range map[string]func(){
		"from another CA":     func() { write(other, subject) },
		"certificate is for":  func() { write(ca, Subject{Name: "vipd:n2", Group: subject.Group}) },
		"not written by vipd": func() { must(t, os.WriteFile(path, []byte("a: b"), 0o600)) },
	} {
		change()
		if at, why := Due(path, ca, subject); !at.IsZero() || !strings.Contains(why, want) {
			t.Errorf("%s: %s %q", want, at, why)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".vipd-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

package credentials

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"sigs.k8s.io/yaml"
)

// kubeconfig is the part of a v1 Config that vipd writes (client-go, tools/clientcmd/api/v1).
type kubeconfig struct {
	APIVersion     string         `json:"apiVersion"`
	Kind           string         `json:"kind"`
	Clusters       []namedCluster `json:"clusters"`
	Users          []namedUser    `json:"users"`
	Contexts       []namedContext `json:"contexts"`
	CurrentContext string         `json:"current-context"`
}

type namedCluster struct {
	Name    string  `json:"name"`
	Cluster cluster `json:"cluster"`
}

type cluster struct {
	Server        string `json:"server"`
	TLSServerName string `json:"tls-server-name"`
	CA            []byte `json:"certificate-authority-data"`
}

type namedUser struct {
	Name string `json:"name"`
	User user   `json:"user"`
}

type user struct {
	Certificate []byte `json:"client-certificate-data"`
	Key         []byte `json:"client-key-data"`
}

type namedContext struct {
	Name    string  `json:"name"`
	Context context `json:"context"`
}

type context struct {
	Cluster string `json:"cluster"`
	User    string `json:"user"`
}

// Kubeconfig returns a kubeconfig with the pair, for an API server at host:port.
func Kubeconfig(ca CA, pair Pair, server string) ([]byte, error) {
	b, err := yaml.Marshal(kubeconfig{
		APIVersion: "v1", Kind: "Config",
		Clusters:       []namedCluster{{"kubernetes", cluster{Server: "https://" + server, TLSServerName: "kubernetes", CA: ca.PEM}}},
		Users:          []namedUser{{"vipd", user(pair)}},
		Contexts:       []namedContext{{"vipd", context{"kubernetes", "vipd"}}},
		CurrentContext: "vipd",
	})
	if err != nil {
		return nil, fmt.Errorf("write kubeconfig: %w", err)
	}
	return b, nil
}

// Write writes a kubeconfig atomically, readable by its owner only.
func Write(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".vipd-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	return nil
}

// Due returns when to replace an existing kubeconfig: after two thirds of the lifetime of its
// certificate, or at once (the zero time) with the reason. A missing kubeconfig is such a reason.
func Due(path string, ca CA, s Subject) (at time.Time, why string) {
	b, err := read(path)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return time.Time{}, "the kubeconfig does not exist yet"
		}
		return time.Time{}, err.Error()
	}
	var k kubeconfig
	if err := yaml.Unmarshal(b, &k); err != nil || len(k.Users) != 1 || len(k.Clusters) != 1 {
		return time.Time{}, "the kubeconfig was not written by vipd"
	}
	block, _ := pem.Decode(k.Users[0].User.Certificate)
	if block == nil {
		return time.Time{}, "the kubeconfig has no certificate"
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	switch {
	case err != nil:
		return time.Time{}, "the certificate in the kubeconfig is invalid"
	case !bytes.Equal(bytes.TrimSpace(k.Clusters[0].Cluster.CA), bytes.TrimSpace(ca.PEM)) || cert.CheckSignatureFrom(ca.cert) != nil:
		return time.Time{}, "the certificate is from another CA"
	case cert.Subject.CommonName != s.Name || len(cert.Subject.Organization) != 1 || cert.Subject.Organization[0] != s.Group:
		return time.Time{}, "the certificate is for " + cert.Subject.String()
	}
	return cert.NotAfter.Add(-cert.NotAfter.Sub(cert.NotBefore) / 3), ""
}

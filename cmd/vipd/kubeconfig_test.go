package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/pkg/config"
)

// standIn stands in for an API server: it lets a user read the Lease once the
// RoleBinding is applied, and system:masters do all (the real one: e2e/kubeadm).
type standIn struct {
	*httptest.Server
	pki string

	mu      sync.Mutex
	applied []string
	bound   bool
	ready   chan struct{} // closed when the Lease was read
}

func newStandIn(t *testing.T) *standIn {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kubernetes"}, DNSNames: []string{"kubernetes"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	must(t, err)
	s := &standIn{pki: t.TempDir(), ready: make(chan struct{})}
	must(t, os.WriteFile(filepath.Join(s.pki, "ca.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(t, os.WriteFile(filepath.Join(s.pki, "ca.key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *standIn) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	admin := r.TLS.PeerCertificates[0].Subject.Organization[0] == "system:masters"
	switch {
	case r.Method == http.MethodPatch && admin:
		s.applied = append(s.applied, r.URL.Path)
		s.bound = s.bound || strings.Contains(r.URL.Path, "/rolebindings/vipd")
	case r.Method == http.MethodGet && s.bound && !admin:
		w.WriteHeader(http.StatusNotFound) // nobody has created it
		select {
		case <-s.ready:
		default:
			close(s.ready)
		}
	default:
		w.WriteHeader(http.StatusForbidden)
	}
}

// TestKeep: from a node with a CA and nothing else to a kubeconfig that may read
// the Lease; then again, which applies nothing.
func TestKeep(t *testing.T) {
	s := newStandIn(t)
	k := &keeper{pki: s.pki, out: filepath.Join(t.TempDir(), "kubeconfig"), node: "n1", rbac: true, log: zap.NewNop(), now: time.Now,
		config: config.Config{APIServer: strings.TrimPrefix(s.URL, "https://"), LeaseNamespace: "kube-system", LeaseName: "plndr-cp-lock"}}
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		done := make(chan error, 1)
		go func() { done <- k.run(ctx) }()
		select {
		case <-s.ready:
		case <-ctx.Done():
			t.Error("the Lease was never read")
		}
		cancel()
		must(t, <-done)
		s.mu.Lock()
		if len(s.applied) != 7 || !slices.Contains(s.applied, "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/vipd") {
			t.Errorf("applied %q", s.applied)
		}
		s.ready = make(chan struct{})
		s.mu.Unlock()
	}
	if info, err := os.Stat(k.out); err != nil || info.Mode() != 0o600 {
		t.Errorf("kubeconfig: %v, %v", info, err)
	}
}

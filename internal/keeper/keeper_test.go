package keeper

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

	"github.com/vipd-io/vipd/internal/config"
)

// standIn is a simulated API server: users may read the Lease once the RoleBinding is applied,
// system:masters may do everything (e2e/kubeadm has the real one).
type standIn struct {
	*httptest.Server
	pki string

	mu      sync.Mutex
	applied []string
	bound   bool
	looks   int           // requests for readiness during the start
	started chan struct{} // closed after the start; nil for no start
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
	starts := false
	select {
	case <-s.started:
	default:
		starts = s.started != nil
	}
	switch {
	case r.URL.Path == "/readyz" && admin && starts:
		s.looks++
		w.WriteHeader(http.StatusInternalServerError)
	case r.URL.Path == "/readyz" && admin:
	case starts && !admin:
		w.WriteHeader(http.StatusForbidden)
	case r.Method == http.MethodPatch && admin:
		s.applied = append(s.applied, r.URL.Path)
		s.bound = s.bound || strings.Contains(r.URL.Path, "/rolebindings/vipd")
	case r.Method == http.MethodGet && s.bound && !admin:
		w.WriteHeader(http.StatusNotFound) // not created yet
		select {
		case <-s.ready:
		default:
			close(s.ready)
		}
	default:
		w.WriteHeader(http.StatusForbidden)
	}
}

// TestKeep: from a node with only a CA to a kubeconfig that may read the Lease; the second run
// applies nothing.
func TestKeep(t *testing.T) {
	s := newStandIn(t)
	k := &Keeper{PKI: s.pki, Out: filepath.Join(t.TempDir(), "kubeconfig"), Node: "n1", RBAC: true, Log: zap.NewNop(), Now: time.Now,
		Config: config.Config{APIServer: strings.TrimPrefix(s.URL, "https://"), LeaseNamespace: "kube-system", LeaseName: "plndr-cp-lock"}}
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		done := make(chan error, 1)
		go func() { done <- k.Run(ctx) }()
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
	if info, err := os.Stat(k.Out); err != nil || info.Mode() != 0o600 {
		t.Errorf("kubeconfig: %v, %v", info, err)
	}
}

// TestKeepWaitsForTheServer: the refusals of a starting server are no reason to apply rights that
// an administrator may have changed.
func TestKeepWaitsForTheServer(t *testing.T) {
	s := newStandIn(t)
	s.bound, s.started = true, make(chan struct{})
	k := &Keeper{PKI: s.pki, Out: filepath.Join(t.TempDir(), "kubeconfig"), Node: "n1", RBAC: true, Log: zap.NewNop(), Now: time.Now,
		Config: config.Config{APIServer: strings.TrimPrefix(s.URL, "https://"), LeaseNamespace: "kube-system", LeaseName: "plndr-cp-lock"}}
	must(t, k.renew())
	for range 3 {
		if allowed, err := k.allow(t.Context()); allowed || err == nil || !strings.Contains(err.Error(), "not ready") {
			t.Errorf("allow = %t, %v, while the server starts", allowed, err)
		}
	}
	close(s.started)
	if allowed, err := k.allow(t.Context()); !allowed || err != nil {
		t.Errorf("allow = %t, %v", allowed, err)
	}
	if len(s.applied) > 0 || s.looks != 3 {
		t.Errorf("applied %q; asked for readiness %d times while it started", s.applied, s.looks)
	}
}

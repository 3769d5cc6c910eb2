package kubeapi

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/vipd-io/vipd/internal/nstest"
	"github.com/vipd-io/vipd/pkg/boottime"
)

func TestMain(m *testing.M) {
	nstest.AtOnce(6)
	goleak.VerifyTestMain(m)
}

const secret = "hunter2-do-not-tell"

// authority is a cluster's CA.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	ca := &authority{t: t}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kubernetes-ca"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	ca.cert, ca.key = ca.sign(template, template)
	return ca
}

// sign makes a certificate with its own key.
func (ca *authority) sign(template, parent *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	ca.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(ca.t, err)
	signer := ca.key
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	must(ca.t, err)
	cert, err := x509.ParseCertificate(der)
	must(ca.t, err)
	return cert, key
}

func (ca *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})
}

// issue makes a certificate for a server (with names) or a user.
func (ca *authority) issue(user string, names ...string) (certPEM, keyPEM []byte) {
	ca.t.Helper()
	cert, key := ca.sign(&x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: user}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}, ca.cert)
	der, err := x509.MarshalECPrivateKey(key)
	must(ca.t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

// apiServer answers on 127.0.0.1 with a certificate for the name `kubernetes` only, because
// kubeadm's certificate is valid for many names and not for that address.
type apiServer struct {
	*httptest.Server
	ca          *authority
	answer      atomic.Pointer[http.HandlerFunc]
	connections atomic.Int32

	mu    sync.Mutex
	users []string // the users of the requests, in order
}

func newServer(t *testing.T, names ...string) *apiServer {
	t.Helper()
	return newServerOf(t, newAuthority(t), names...)
}

// newServerOf returns a further server of a cluster.
func newServerOf(t *testing.T, ca *authority, names ...string) *apiServer {
	t.Helper()
	if len(names) == 0 {
		names = []string{serverName}
	}
	s := &apiServer{ca: ca}
	s.set(lease)
	certPEM, keyPEM := s.ca.issue("kube-apiserver", names...)
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(s.ca.cert)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.users = append(s.users, user(r))
		s.mu.Unlock()
		(*s.answer.Load())(w, r)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // some handshakes fail on purpose
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.connections.Add(1)
		}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// user returns the user of a request.
func user(r *http.Request) string {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return token
	}
	if len(r.TLS.PeerCertificates) > 0 {
		return r.TLS.PeerCertificates[0].Subject.CommonName
	}
	return "nobody"
}

func (s *apiServer) set(h http.HandlerFunc) { s.answer.Store(&h) }
func (s *apiServer) addr() string           { return s.Listener.Addr().String() }

// asked returns the users since the last call of asked.
func (s *apiServer) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.users
	s.users = nil
	return out
}

func lease(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(coordinationv1.Lease{TypeMeta: metav1.TypeMeta{APIVersion: "coordination.k8s.io/v1", Kind: "Lease"}})
}

// refusal answers like an API server that refuses a request.
func refusal(code int, reason metav1.StatusReason) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
			Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: "because"})
	}
}

// hang answers when the client has cancelled the request.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// hangUp closes the connection.
func hangUp(w http.ResponseWriter, _ *http.Request) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = c.Close()
	}
}

// kubeconfig is a change that a test makes to a working kubeconfig.
type kubeconfig struct {
	cluster clientcmdapi.Cluster
	user    clientcmdapi.AuthInfo
}

// write writes a kubeconfig for a user with a token, with another server.
func (s *apiServer) write(t *testing.T, path, token string, change func(*kubeconfig)) string {
	t.Helper()
	// 192.0.2.0/24 is for documentation (RFC 5737): nobody answers there.
	k := &kubeconfig{cluster: clientcmdapi.Cluster{Server: "https://192.0.2.1:6443", CertificateAuthorityData: s.ca.pem()},
		user: clientcmdapi.AuthInfo{Token: token}}
	if change != nil {
		change(k)
	}
	must(t, clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{"c": &k.cluster}, AuthInfos: map[string]*clientcmdapi.AuthInfo{"u": &k.user},
		Contexts: map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}}, CurrentContext: "x"}, path))
	return path
}

// newClient returns a client and its log.
func newClient(addr string, paths ...string) (*Client, *observer.ObservedLogs) {
	core, logs := observer.New(zapcore.DebugLevel)
	return New(Options{Server: addr, Kubeconfigs: paths, UserAgent: "vipd/test", Log: zap.New(core)}), logs
}

func get(ctx context.Context, c coordinationv1client.CoordinationV1Interface) error {
	_, err := c.Leases("kube-system").Get(ctx, "plndr-cp-lock", metav1.GetOptions{})
	return err
}

func watchLeases(ctx context.Context, c coordinationv1client.CoordinationV1Interface) error {
	w, err := c.Leases("kube-system").Watch(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err == nil {
		w.Stop()
	}
	return err
}

// do makes a call with the timeout of a real call, and expects that the call takes only part of it.
func do(t *testing.T, c *Client, call Call) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	err := c.Do(ctx, call)
	if ctx.Err() != nil {
		t.Errorf("the call waited: %v", err)
	}
	return err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func messages(logs *observer.ObservedLogs) []string {
	var out []string
	for _, e := range logs.TakeAll() {
		out = append(out, e.Message)
	}
	return out
}

func diff[T any](t *testing.T, what string, want, got T) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

const (
	answers     = "API server answers"
	notUsable   = "API server not usable"
	refusedList = "list and watch refused"
)

// TestServerIsTheLocalOne: the kubeconfig sets credentials and CA, and neither the server nor a
// proxy.
func TestServerIsTheLocalOne(t *testing.T) {
	proxied := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the proxy was asked") }))
	t.Cleanup(proxied.Close)
	tests := []struct {
		name   string
		change func(*apiServer, *kubeconfig)
	}{
		{name: "server elsewhere", change: func(*apiServer, *kubeconfig) {}},
		{name: "no server", change: func(_ *apiServer, k *kubeconfig) { k.cluster.Server = "" }},
		{name: "proxy", change: func(_ *apiServer, k *kubeconfig) { k.cluster.ProxyURL = proxied.URL }},
		{name: "other server name", change: func(_ *apiServer, k *kubeconfig) { k.cluster.TLSServerName = "vip.example.com" }},
		{name: "insecure and a CA", change: func(_ *apiServer, k *kubeconfig) { k.cluster.InsecureSkipTLSVerify = true }},
		{name: "client certificate", change: func(s *apiServer, k *kubeconfig) {
			k.user.Token = ""
			k.user.ClientCertificateData, k.user.ClientKeyData = s.ca.issue("me")
		}},
		{name: "files beside it", change: func(s *apiServer, k *kubeconfig) {
			k.cluster.CertificateAuthorityData, k.cluster.CertificateAuthority = nil, "ca.crt"
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, dir := newServer(t), t.TempDir()
			must(t, os.WriteFile(filepath.Join(dir, "ca.crt"), s.ca.pem(), 0o600))
			path := s.write(t, filepath.Join(dir, "admin.conf"), "me", func(k *kubeconfig) { tt.change(s, k) })
			c, logs := newClient(s.addr(), path)
			must(t, do(t, c, get))
			diff(t, "users", []string{"me"}, s.asked())
			diff(t, "log", []string{answers}, messages(logs))
		})
	}
}

// TestServerIsVerified: the certificate of the server is verified, whatever the kubeconfig says.
func TestServerIsVerified(t *testing.T) {
	tests := []struct {
		name   string
		names  []string
		change func(*testing.T, *kubeconfig)
	}{
		{name: "other CA", change: func(t *testing.T, k *kubeconfig) { k.cluster.CertificateAuthorityData = newAuthority(t).pem() }},
		{name: "system's CAs", change: func(_ *testing.T, k *kubeconfig) { k.cluster.CertificateAuthorityData = nil }},
		{name: "insecure", change: func(_ *testing.T, k *kubeconfig) {
			k.cluster.CertificateAuthorityData, k.cluster.InsecureSkipTLSVerify = nil, true
		}},
		{name: "certificate of something else", names: []string{"etcd"}, change: func(*testing.T, *kubeconfig) {}},
		{name: "name in the file", names: []string{"etcd"}, change: func(_ *testing.T, k *kubeconfig) { k.cluster.TLSServerName = "etcd" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t, tt.names...)
			path := s.write(t, filepath.Join(t.TempDir(), "admin.conf"), secret, func(k *kubeconfig) { tt.change(t, k) })
			c, logs := newClient(s.addr(), path)
			err := do(t, c, get)
			if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
				t.Errorf("error = %v, want one about the certificate", err)
			}
			if asked := s.asked(); len(asked) > 0 {
				t.Errorf("credentials went to a server that was not verified: %v", asked)
			}
			diff(t, "log", []string{notUsable}, messages(logs))
		})
	}
}

// TestBadFiles: the next file replaces a bad one; the error names the file and the reason, and
// never quotes the file.
func TestBadFiles(t *testing.T) {
	s := newServer(t)
	tests := []struct {
		name string
		make func(t *testing.T, path string)
		err  string
	}{
		{name: "missing", make: func(*testing.T, string) {}, err: "no such file or directory (kubeadm writes it during init or join; waiting for it)"},
		{name: "empty", make: content(""), err: "the file is empty"},
		{name: "directory", make: func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o700)) }, err: "not a file but d"},
		{name: "not YAML", make: content("\t" + secret), err: "not a valid kubeconfig"},
		{name: "other YAML", make: content("a: [" + secret + "]\n"), err: "use kubeconfig: "},
		{name: "bad base64", make: content("users:\n- name: u\n  user: {client-key-data: \"" + secret + "!\"}\n"), err: "not a valid kubeconfig"},
		{name: "bad key", make: func(t *testing.T, path string) {
			s.write(t, path, "", func(k *kubeconfig) {
				k.user.ClientCertificateData, _ = s.ca.issue("me")
				k.user.ClientKeyData = []byte(secret)
			})
		}, err: "use kubeconfig: "},
		{name: "bad proxy and no CA", make: func(t *testing.T, path string) {
			s.write(t, path, "", func(k *kubeconfig) {
				k.cluster.ProxyURL = "http://me:" + secret + "@%zz"
				k.cluster.CertificateAuthority = "/nowhere/ca.crt"
				k.cluster.CertificateAuthorityData = nil
			})
		}, err: "/nowhere/ca.crt"},
		{name: "cut off", make: func(t *testing.T, path string) {
			s.write(t, path, secret, nil)
			b, err := os.ReadFile(path)
			must(t, err)
			must(t, os.WriteFile(path, b[:len(b)/2], 0o600))
		}, err: "kubeconfig: "},
		{name: "too large", make: func(t *testing.T, path string) {
			must(t, os.WriteFile(path, bytes.Repeat([]byte("#"), maxKubeconfig+1), 0o600))
		}, err: "1048577 bytes is more than 1048576"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "admin.conf")
			tt.make(t, path)
			c, logs := newClient(s.addr(), path)
			err := do(t, c, get)
			if err == nil || !strings.Contains(err.Error(), tt.err) || !strings.Contains(err.Error(), path) {
				t.Errorf("error = %v, want it to name the file and %q", err, tt.err)
			}
			said := fmt.Sprintf("%v %+v", err, logs.All())
			for _, told := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret))} {
				if strings.Contains(said, told) {
					t.Errorf("told a secret: %s", said)
				}
			}
			// A corrected file is used without a restart.
			must(t, os.RemoveAll(path))
			s.write(t, path, "corrected", nil)
			must(t, do(t, c, get))
			diff(t, "users", []string{"corrected"}, s.asked())
			diff(t, "log", []string{notUsable, answers}, messages(logs))
		})
	}
}

func content(s string) func(*testing.T, string) {
	return func(t *testing.T, path string) { must(t, os.WriteFile(path, []byte(s), 0o600)) }
}

func TestCredentialsAreReadAgain(t *testing.T) {
	s, path := newServer(t), filepath.Join(t.TempDir(), "admin.conf")
	s.write(t, path, "first", nil)
	c, logs := newClient(s.addr(), path)
	must(t, do(t, c, get))
	s.write(t, path, "another", nil) // in place, as kubeadm certs renew does
	must(t, do(t, c, get))
	s.write(t, path+".new", "", func(k *kubeconfig) { k.user.ClientCertificateData, k.user.ClientKeyData = s.ca.issue("renewed") })
	must(t, os.Rename(path+".new", path))
	must(t, do(t, c, get))

	// A quick rewrite may leave size and time of the file unchanged, if the clock is coarse. Then
	// the refusal of the server makes the client read the file again.
	s.write(t, path, "old-token", nil)
	info, err := os.Stat(path)
	must(t, err)
	must(t, do(t, c, get))
	s.write(t, path, "new-token", nil)
	must(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
	s.set(func(w http.ResponseWriter, r *http.Request) {
		if user(r) != "new-token" {
			refusal(http.StatusUnauthorized, metav1.StatusReasonUnauthorized)(w, r)
			return
		}
		lease(w, r)
	})
	if err := do(t, c, get); !apierrors.IsUnauthorized(err) {
		t.Errorf("error = %v, want Unauthorized", err)
	}
	must(t, do(t, c, get))
	diff(t, "users", []string{"first", "another", "renewed", "old-token", "old-token", "new-token"}, s.asked())
	diff(t, "log", []string{answers, notUsable, answers}, messages(logs))
}

// TestRefusals: the client tries each of the other credentials once if they may help, and never
// waits, whatever the server asks (Retry-After).
func TestRefusals(t *testing.T) {
	both, one := []string{"a", "b"}, []string{"a"}
	tests := []struct {
		code   int
		reason metav1.StatusReason
		is     func(error) bool
		asked  []string
		hint   string // "" for an answer about the object, which is no failure
	}{
		{http.StatusNotFound, metav1.StatusReasonNotFound, apierrors.IsNotFound, one, ""},
		{http.StatusConflict, metav1.StatusReasonConflict, apierrors.IsConflict, one, ""},
		{http.StatusConflict, metav1.StatusReasonAlreadyExists, apierrors.IsAlreadyExists, one, ""},
		{http.StatusGone, metav1.StatusReasonExpired, apierrors.IsResourceExpired, one, ""},
		{http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, apierrors.IsInvalid, one, ""},
		{http.StatusUnauthorized, metav1.StatusReasonUnauthorized, apierrors.IsUnauthorized, both, "kubeadm certs check-expiration"},
		{http.StatusForbidden, metav1.StatusReasonForbidden, apierrors.IsForbidden, both, "may not get, watch, create and update"},
		{http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, apierrors.IsTooManyRequests, both, "overloaded"},
		{http.StatusInternalServerError, metav1.StatusReasonInternalError, apierrors.IsInternalError, both, "because"},
		{http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, apierrors.IsServiceUnavailable, both, "because"},
	}
	for _, tt := range tests {
		for verb, call := range map[string]Call{"get": get, "watch": watchLeases} {
			t.Run(fmt.Sprint(tt.reason, " ", verb), func(t *testing.T) {
				s, dir := newServer(t), t.TempDir()
				a := s.write(t, filepath.Join(dir, "a.conf"), "a", nil)
				b := s.write(t, filepath.Join(dir, "b.conf"), "b", nil)
				c, logs := newClient(s.addr(), a, b)
				s.set(refusal(tt.code, tt.reason))
				err := do(t, c, call)
				if !tt.is(err) || !strings.Contains(err.Error(), tt.hint) {
					t.Errorf("error = %v, want %s with %q", err, tt.reason, tt.hint)
				}
				diff(t, "users", tt.asked, s.asked())
				want := notUsable
				if tt.hint == "" {
					want = answers
				}
				diff(t, "log", []string{want}, messages(logs))
			})
		}
	}
}

// TestNextKubeconfig: the next call begins with the kubeconfig that worked.
func TestNextKubeconfig(t *testing.T) {
	s, dir := newServer(t), t.TempDir()
	a := s.write(t, filepath.Join(dir, "a.conf"), "expired", nil)
	b := s.write(t, filepath.Join(dir, "b.conf"), "good", nil)
	s.set(func(w http.ResponseWriter, r *http.Request) {
		if user(r) == "expired" {
			refusal(http.StatusUnauthorized, metav1.StatusReasonUnauthorized)(w, r)
			return
		}
		lease(w, r)
	})
	c, logs := newClient(s.addr(), a, b)
	for range 3 {
		must(t, do(t, c, get))
	}
	diff(t, "users", []string{"expired", "good", "good", "good"}, s.asked())
	got := logs.TakeAll()
	if len(got) != 1 || got[0].ContextMap()["kubeconfig"] != b {
		t.Errorf("log = %v, want one line that names %s", got, b)
	}
}

// TestFirstKubeconfigAgain: an error of the first kubeconfig may pass.
func TestFirstKubeconfigAgain(t *testing.T) {
	s, dir := newServer(t), t.TempDir()
	a := s.write(t, filepath.Join(dir, "a.conf"), "first", nil)
	b := s.write(t, filepath.Join(dir, "b.conf"), "second", nil)
	refuse := func(w http.ResponseWriter, r *http.Request) {
		if user(r) == "first" {
			refusal(http.StatusForbidden, metav1.StatusReasonForbidden)(w, r)
			return
		}
		lease(w, r)
	}
	c, _ := newClient(s.addr(), a, b)
	s.set(refuse)
	must(t, do(t, c, get))
	if err := c.refusal(apierrors.NewUnauthorized("because"), s.addr()); !strings.Contains(err.Error(), "has just started") {
		t.Errorf("error = %v, want it to say that this may pass", err)
	}
	c.reconsider() // too soon
	must(t, do(t, c, get))
	c.left = c.left.Add(-settleTime)
	c.reconsider()
	must(t, do(t, c, get))
	c.reconsider() // the first kubeconfig was tried just now
	must(t, do(t, c, get))
	s.set(lease)
	c.left = c.left.Add(-settleTime)
	c.reconsider()
	must(t, do(t, c, get))
	must(t, do(t, c, get))
	diff(t, "users", []string{"first", "second", "second", "first", "second", "second", "first", "first"}, s.asked())
}

func TestRefusedConnection(t *testing.T) {
	s := newServer(t)
	path := s.write(t, filepath.Join(t.TempDir(), "admin.conf"), "me", nil)
	s.Close()
	c, logs := newClient(s.addr(), path)
	for range 10 {
		if err := do(t, c, get); err == nil || !strings.Contains(err.Error(), "no API server listens on "+s.addr()) {
			t.Fatalf("error = %v", err)
		}
	}
	diff(t, "log", []string{notUsable}, messages(logs))
}

// TestBrokenConnection: a broken connection is no answer, although client-go would treat it as one
// or retry a second later.
func TestBrokenConnection(t *testing.T) {
	s := newServer(t)
	path := s.write(t, filepath.Join(t.TempDir(), "admin.conf"), "me", nil)
	c, logs := newClient(s.addr(), path)
	s.set(hangUp)
	for range 3 {
		for _, call := range []Call{get, watchLeases} {
			if err := do(t, c, call); !errors.Is(err, errClosed) {
				t.Errorf("error = %v, want %v", err, errClosed)
			}
		}
	}
	if n := len(s.asked()); n != 6 {
		t.Errorf("%d requests, want 6", n)
	}
	diff(t, "log", []string{notUsable}, messages(logs))
	s.set(lease)
	must(t, do(t, c, get))
	diff(t, "log", []string{answers}, messages(logs))
}

// TestHangingServer: a call ends in time, and the next one begins with the next kubeconfig, over a
// new connection.
func TestHangingServer(t *testing.T) {
	t.Parallel()
	s, dir := newServer(t), t.TempDir()
	a := s.write(t, filepath.Join(dir, "a.conf"), "a", nil)
	b := s.write(t, filepath.Join(dir, "b.conf"), "b", nil)
	c, logs := newClient(s.addr(), a, b)
	must(t, do(t, c, get))
	must(t, do(t, c, get))
	diff(t, "connections", 1, s.connections.Load())

	s.set(hang)
	hung := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		err := c.Do(ctx, get) // the server would never end this request
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "does not answer in time") {
			t.Errorf("error = %v", err)
		}
	}
	hung()
	hung()
	hung()
	s.set(lease)
	must(t, do(t, c, get))
	diff(t, "users", []string{"a", "a", "a", "b", "a", "b"}, s.asked())
	// The first connection of b, and the second ones of a and b: no connection that hung is used
	// again.
	diff(t, "connections", 4, s.connections.Load())
	diff(t, "log", []string{answers, notUsable, answers}, messages(logs))
}

// TestCancelledCallIsNoFailure: a cancelled call is no failure of the server.
func TestCancelledCallIsNoFailure(t *testing.T) {
	s := newServer(t)
	path := s.write(t, filepath.Join(t.TempDir(), "admin.conf"), "me", nil)
	c, logs := newClient(s.addr(), path)
	ctx, cancel := context.WithCancel(t.Context())
	s.set(func(w http.ResponseWriter, r *http.Request) { cancel(); hang(w, r) })
	if err := c.Do(ctx, get); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want %v", err, context.Canceled)
	}
	diff(t, "log", nil, messages(logs))
}

// TestOneLinePerChange: the server fails in one way after the other.
func TestOneLinePerChange(t *testing.T) {
	s := newServer(t)
	path := s.write(t, filepath.Join(t.TempDir(), "admin.conf"), "me", nil)
	c, logs := newClient(s.addr(), path)
	for _, h := range []http.HandlerFunc{
		lease, hangUp, refusal(http.StatusInternalServerError, metav1.StatusReasonInternalError), hangUp, lease,
	} {
		s.set(h)
		for range 20 {
			_ = do(t, c, get)
		}
	}
	diff(t, "log", []string{answers, notUsable, notUsable, answers}, messages(logs))
}

// TestHealthDoesNotFlap: reads succeed while a watch is refused, ten times a second, and both end
// at some time.
func TestHealthDoesNotFlap(t *testing.T) {
	var h health
	now := boottime.Instant(time.Second) // the time since the boot: nothing was logged in the minute before
	lines := 0
	pass := func(d time.Duration, watchFails bool) {
		for end := now.Add(d); now.Before(end); now = now.Add(100 * time.Millisecond) {
			if watchFails && h.failure("Forbidden", now) {
				lines++
			}
			if h.success("admin.conf", now) {
				lines++
			}
		}
	}
	pass(time.Minute, true)
	// The refusal, one recovery that counts, and the refusal again.
	diff(t, "lines in a minute", 3, lines)
	if len(h.failing) == 0 {
		t.Error("what still fails counts as recovered")
	}
	pass(steadyTime+time.Second, false)
	diff(t, "lines with the recovery", 4, lines)
}

// TestConcurrentCalls is for the race detector: a watch and a write run concurrently while files
// change and the server fails.
func TestConcurrentCalls(t *testing.T) {
	s, dir := newServer(t), t.TempDir()
	a := s.write(t, filepath.Join(dir, "a.conf"), "a", nil)
	b := s.write(t, filepath.Join(dir, "b.conf"), "b", nil)
	c, _ := newClient(s.addr(), a, b)
	var n atomic.Int32
	s.set(func(w http.ResponseWriter, r *http.Request) {
		answers := []http.HandlerFunc{lease, hangUp, refusal(http.StatusUnauthorized, metav1.StatusReasonUnauthorized), lease}
		answers[int(n.Add(1))%len(answers)](w, r)
	})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 25 {
				_ = c.Do(t.Context(), get)
				_ = c.Do(t.Context(), watchLeases)
			}
		})
	}
	for i := range 10 {
		s.write(t, a, fmt.Sprint("a", i), nil)
	}
	wg.Wait()
	s.set(lease)
	must(t, do(t, c, get))
}

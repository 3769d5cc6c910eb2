package kubeapi

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// TestRequestsAreReported checks the server and the outcome of each reported request.
func TestRequestsAreReported(t *testing.T) {
	s := newServer(t)
	var told []Request
	c := New(Options{Server: s.addr(), Kubeconfigs: []string{s.write(t, filepath.Join(t.TempDir(), "admin.conf"), "me", nil)},
		Observe: func(e Event) {
			if r, ok := e.(Request); ok {
				told = append(told, r)
			}
		}})
	must(t, do(t, c, get))
	s.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	if err := do(t, c, get); err == nil {
		t.Error("503 is no error")
	}
	s.set(hangUp)
	if err := do(t, c, get); err == nil {
		t.Error("a connection that breaks is no error")
	}
	var status []int
	for _, r := range told {
		status = append(status, r.Status)
		if r.Server != s.addr() || r.Method != http.MethodGet || r.Path != "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/plndr-cp-lock" ||
			r.Took <= 0 || r.Took > time.Minute {
			t.Errorf("told %+v", r)
		}
	}
	diff(t, "status", []int{200, 503, 0}, status)
}

// TestExpiry reads certificates in the kubeconfig and in files, in their present state.
func TestExpiry(t *testing.T) {
	s, dir := newServer(t), t.TempDir()
	certPEM, keyPEM := s.ca.issue("embedded")
	embedded := s.write(t, filepath.Join(dir, "embedded"), "", func(k *kubeconfig) {
		k.user.ClientCertificateData, k.user.ClientKeyData = certPEM, keyPEM
	})
	token := s.write(t, filepath.Join(dir, "token"), "me", nil)
	for _, path := range []string{embedded, token} {
		c, _ := newClient(s.addr(), path)
		if e := c.Expiry(); len(e) != 0 {
			t.Errorf("%s: %v before it was used", path, e)
		}
		must(t, do(t, c, get))
		if end, ok := c.Expiry()[path]; ok == (path == token) || ok && !end.After(s.ca.cert.NotBefore) {
			t.Errorf("%s: %v, %v", path, end, ok)
		}
	}
	// client-go reloads a file by itself, with goroutines that never end: not here.
	file := filepath.Join(dir, "kubelet-client-current.pem")
	must(t, os.WriteFile(file, append(keyPEM, certPEM...), 0o600))
	if end, ok := expiry(&clientcmdapi.AuthInfo{ClientCertificate: file}); !ok || !end.After(s.ca.cert.NotBefore) {
		t.Errorf("of a file: %v, %v", end, ok)
	}
	must(t, os.WriteFile(file, []byte("renewing"), 0o600))
	if end, ok := expiry(&clientcmdapi.AuthInfo{ClientCertificate: file}); ok {
		t.Errorf("of a file without a certificate: %v", end)
	}
}

package kubeapi

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	authorizationv1client "k8s.io/client-go/kubernetes/typed/authorization/v1"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	discoveryv1client "k8s.io/client-go/kubernetes/typed/discovery/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	certutil "k8s.io/client-go/util/cert"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// serverName is in every API server certificate that kubeadm makes; 127.0.0.1 is not.
const serverName = "kubernetes"

// maxKubeconfig bounds the size of a kubeconfig, in bytes.
const maxKubeconfig = 1 << 20

// source is one kubeconfig, and the clients that use it.
type source struct {
	path    string
	stamp   stamp
	clients map[string]*clients // by server
	user    *clientcmdapi.AuthInfo
}

// stamp tells whether a file has changed.
type stamp struct {
	modified time.Time
	size     int64
}

// clients are the clients for one server with one kubeconfig, over one transport.
type clients struct {
	server       string
	http         *http.Client
	coordination coordinationv1client.CoordinationV1Interface
	core         corev1client.CoreV1Interface
	discovery    discoveryv1client.DiscoveryV1Interface
	// authorization is used by Inspect.
	authorization authorizationv1client.AuthorizationV1Interface
}

func (c *Client) forget(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sources[n].drop()
}

// drop removes the clients; requests in flight go on.
func (s *source) drop() {
	for server, old := range s.clients {
		utilnet.CloseIdleConnectionsFor(old.http.Transport)
		delete(s.clients, server)
	}
}

// clients returns the clients for a server and a kubeconfig, and makes them anew if the file
// changed.
func (c *Client) clients(server string, n int) (*clients, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sources[n]
	info, err := os.Stat(s.path)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	if now := (stamp{modified: info.ModTime(), size: info.Size()}); s.stamp != now {
		s.drop()
		s.stamp = now
	}
	if found, ok := s.clients[server]; ok {
		return found, nil
	}
	file, err := load(s.path, info)
	if err != nil {
		return nil, err
	}
	s.user = currentUser(file)
	made, err := c.connect(file, server)
	if err != nil {
		return nil, fmt.Errorf("use kubeconfig: %w", err)
	}
	s.clients[server] = made
	return made, nil
}

// load reads a kubeconfig.
func load(path string, info os.FileInfo) (*clientcmdapi.Config, error) {
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read kubeconfig: not a file but %s", info.Mode())
	}
	if info.Size() == 0 {
		return nil, errors.New("read kubeconfig: the file is empty")
	}
	if info.Size() > maxKubeconfig {
		return nil, fmt.Errorf("read kubeconfig: %d bytes is more than %d", info.Size(), maxKubeconfig)
	}
	file, err := clientcmd.LoadFromFile(path)
	if err != nil {
		// The error of the library quotes the unreadable line, which may be a key.
		return nil, errors.New("read kubeconfig: not a valid kubeconfig")
	}
	if err := clientcmd.ResolveLocalPaths(file); err != nil {
		return nil, fmt.Errorf("use kubeconfig: %w", err)
	}
	return file, nil
}

// Expiry returns the expiry of the client certificate of each kubeconfig that was used, by the path
// of the file. A token has no readable expiry.
func (c *Client) Expiry() map[string]time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[string]time.Time)
	for _, s := range c.sources {
		if end, ok := expiry(s.user); ok {
			out[s.path] = end
		}
	}
	return out
}

// currentUser returns the user of the current context, nil for none.
func currentUser(file *clientcmdapi.Config) *clientcmdapi.AuthInfo {
	current, ok := file.Contexts[file.CurrentContext]
	if !ok {
		return nil
	}
	return file.AuthInfos[current.AuthInfo]
}

// Expiry returns the expiry of the client certificate of the kubeconfig's current user.
func Expiry(file *clientcmdapi.Config) (end time.Time, ok bool) { return expiry(currentUser(file)) }

// Authority returns the CA certificates of the kubeconfig's current cluster, in PEM, nil for none.
func Authority(file *clientcmdapi.Config) []byte {
	current := file.Contexts[file.CurrentContext]
	if current == nil || file.Clusters[current.Cluster] == nil {
		return nil
	}
	cluster := file.Clusters[current.Cluster]
	if len(cluster.CertificateAuthorityData) == 0 && cluster.CertificateAuthority != "" {
		return readBounded(cluster.CertificateAuthority)
	}
	return cluster.CertificateAuthorityData
}

// expiry reads a certificate file each time: kubelet renews its own certificate in place.
func expiry(user *clientcmdapi.AuthInfo) (end time.Time, ok bool) {
	if user == nil {
		return time.Time{}, false
	}
	data := user.ClientCertificateData
	if len(data) == 0 && user.ClientCertificate != "" {
		data = readBounded(user.ClientCertificate)
	}
	certs, err := certutil.ParseCertsPEM(data)
	if err != nil {
		return time.Time{}, false // the API server will report the error
	}
	return certs[0].NotAfter, true
}

// readBounded returns nil for a file that cannot be read.
func readBounded(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxKubeconfig))
	if err != nil {
		return nil
	}
	return data
}

// connect takes credentials and CA from a kubeconfig. The server in the file, its proxy and its
// wish to skip verification are ignored.
func (c *Client) connect(file *clientcmdapi.Config, server string) (*clients, error) {
	for _, cluster := range file.Clusters {
		cluster.Server, cluster.ProxyURL = "https://"+server, ""
		cluster.TLSServerName, cluster.InsecureSkipTLSVerify = serverName, false
	}
	config, err := clientcmd.NewDefaultClientConfig(*file, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, err
	}
	config.UserAgent = c.opts.UserAgent
	config.Dial = c.dialer(server).dial
	// Connect directly, whatever HTTPS_PROXY says: the proxy may be behind the VIP.
	config.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	config.QPS = -1 // the lease limits the rate, not the client
	// HTTP/1.1: a cancelled request closes its connection, so the next request does not queue
	// behind a server that hangs.
	config.NextProtos = []string{"http/1.1"}
	config.Wrap(func(rt http.RoundTripper) http.RoundTripper {
		return requestObserver{failFast{callContext{rt}}, server, c.opts.Observe}
	})
	return newClients(config, server)
}

func newClients(config *rest.Config, server string) (*clients, error) {
	h, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	out := &clients{server: server, http: h}
	if out.coordination, err = coordinationv1client.NewForConfigAndClient(config, h); err != nil {
		return nil, err
	}
	if out.core, err = corev1client.NewForConfigAndClient(config, h); err != nil {
		return nil, err
	}
	if out.discovery, err = discoveryv1client.NewForConfigAndClient(config, h); err != nil {
		return nil, err
	}
	if out.authorization, err = authorizationv1client.NewForConfigAndClient(config, h); err != nil {
		return nil, err
	}
	return out, nil
}

// failFast keeps client-go from waiting for Retry-After and trying again: vipd has its own
// deadline. failFast also keeps client-go from treating a broken connection as an answer, as
// client-go does for a read (repeated a second later) and for a watch (treated as ended).
type failFast struct{ http.RoundTripper }

// WrappedRoundTripper lets client-go find the transport to close its idle connections.
func (i failFast) WrappedRoundTripper() http.RoundTripper { return i.RoundTripper }

// errClosed stands for every way in which a server breaks a connection. The error does not contain
// the local port, which differs each time.
var errClosed = errors.New("the connection was closed without an answer")

func (i failFast) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := i.RoundTripper.RoundTrip(r)
	if resp != nil {
		resp.Header.Del("Retry-After")
	}
	if resp != nil && !streams(r) {
		resp.Body = &limited{ReadCloser: resp.Body, left: maxBody}
	}
	if utilnet.IsProbableEOF(err) && r.Context().Err() == nil {
		return nil, errClosed
	}
	return resp, err
}

// maxBody bounds an answer, in bytes; client-go reads it whole. A list of Nodes has about 50 kB for
// each Node. client-go bounds each event of a watch (16 MiB).
const maxBody = 8 << 20

// streams tells whether the request is a watch.
func streams(r *http.Request) bool { return r.URL.Query().Get("watch") != "" }

// limited is a body that fails when it is too long.
type limited struct {
	io.ReadCloser
	left int
}

var errTooLong = fmt.Errorf("the answer is longer than %d bytes", maxBody)

func (b *limited) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errTooLong
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// requestObserver reports requests.
type requestObserver struct {
	http.RoundTripper
	server  string
	observe func(Event)
}

// WrappedRoundTripper is like that of failFast.
func (w requestObserver) WrappedRoundTripper() http.RoundTripper { return w.RoundTripper }

func (w requestObserver) RoundTrip(r *http.Request) (*http.Response, error) {
	began := boottime.Now()
	resp, err := w.RoundTripper.RoundTrip(r)
	req := Request{Server: w.server, Method: r.Method, Path: r.URL.Path, Took: boottime.Now().Sub(began)}
	if resp != nil {
		req.Status = resp.StatusCode
	}
	w.observe(req)
	return resp, err
}

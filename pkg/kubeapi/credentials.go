package kubeapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
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

// serverName is in every API server certificate that kubeadm makes; 127.0.0.1
// is not.
const serverName = "kubernetes"

// maxKubeconfig bounds what is read into memory, in bytes.
const maxKubeconfig = 1 << 20

// source is one kubeconfig with the clients made from it.
type source struct {
	path    string
	stamp   stamp
	clients map[string]*clients // by server
	user    *clientcmdapi.AuthInfo
}

// stamp tells whether a file is another one than before.
type stamp struct {
	modified time.Time
	size     int64
}

// clients are those for one server with one kubeconfig, over one transport.
type clients struct {
	http         *http.Client
	coordination coordinationv1client.CoordinationV1Interface
	core         corev1client.CoreV1Interface
	discovery    discoveryv1client.DiscoveryV1Interface
	// authorization is for Inspect.
	authorization authorizationv1client.AuthorizationV1Interface
}

func (c *Client) forget(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sources[n].drop()
}

// drop lets go of the clients; requests under way go on.
func (s *source) drop() {
	for server, old := range s.clients {
		utilnet.CloseIdleConnectionsFor(old.http.Transport)
		delete(s.clients, server)
	}
}

// clients returns those for a server and a kubeconfig, made anew if the file
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
		// The library's error quotes the line it could not read, which may be a key.
		return nil, errors.New("read kubeconfig: not readable as one")
	}
	if err := clientcmd.ResolveLocalPaths(file); err != nil {
		return nil, fmt.Errorf("use kubeconfig: %w", err)
	}
	return file, nil
}

// Expiry tells when the client certificate of each kubeconfig ends that was used,
// by the file's path. A token has no end that could be read from it.
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

// currentUser is whom a kubeconfig would have us be, nil for nobody.
func currentUser(file *clientcmdapi.Config) *clientcmdapi.AuthInfo {
	current, ok := file.Contexts[file.CurrentContext]
	if !ok {
		return nil
	}
	return file.AuthInfos[current.AuthInfo]
}

// Expiry tells when the client certificate ends that a kubeconfig would have us use.
func Expiry(file *clientcmdapi.Config) (end time.Time, ok bool) { return expiry(currentUser(file)) }

// Authority are the certificates of the CA that a kubeconfig would have us trust, in PEM,
// nil for none.
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

// expiry reads a file with a certificate each time: kubelet renews its own in place.
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
		return time.Time{}, false // the API server will say so
	}
	return certs[0].NotAfter, true
}

// readBounded returns nothing for what cannot be read.
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

// connect keeps of a kubeconfig who we are and whom we trust. The file's server
// is not used, nor is the way to it, nor its wish not to be verified.
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
	config.Dial = c.dialer(server)
	// Straight to the server, whatever HTTPS_PROXY says: a proxy may be behind
	// the VIP.
	config.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	config.QPS = -1 // paced by the lease, not by the client
	// HTTP/1.1: a request that is given up closes its connection, so the next
	// one is not queued behind a server that hangs.
	config.NextProtos = []string{"http/1.1"}
	config.Wrap(func(rt http.RoundTripper) http.RoundTripper { return witness{impatient{rt}, server, c.opts.Asked} })
	return newClients(config)
}

func newClients(config *rest.Config) (*clients, error) {
	h, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	out := &clients{http: h}
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

// dialer tells Broken of connections that end.
func (c *Client) dialer(server string) func(context.Context, string, string) (net.Conn, error) {
	dial := c.opts.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &sensor{Conn: conn, ended: sync.OnceFunc(func() { c.opts.Broken(server) })}, nil
	}
}

// sensor notices that a connection ends. The kernel of a process that dies closes
// its connections at that moment, and http.Transport is always reading from
// each, be it the watch or an idle one; what it cannot read from it closes.
type sensor struct {
	net.Conn
	ended func()
}

func (s *sensor) Close() error {
	s.ended()
	return s.Conn.Close()
}

// impatient keeps client-go from waiting for as long as a server asks
// (Retry-After) and trying again: vipd has a deadline of its own. Nor does it
// let client-go take a connection that breaks for an answer, as it does for a
// read (asked again a second later) and a watch (taken for one that ended).
type impatient struct{ http.RoundTripper }

// WrappedRoundTripper lets client-go find the transport to close its idle
// connections.
func (i impatient) WrappedRoundTripper() http.RoundTripper { return i.RoundTripper }

// errHungUp stands for every way in which a server breaks a connection. It
// names no port of ours, which is another one each time.
var errHungUp = errors.New("the connection was closed without an answer")

func (i impatient) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := i.RoundTripper.RoundTrip(r)
	if resp != nil {
		resp.Header.Del("Retry-After")
	}
	if utilnet.IsProbableEOF(err) && r.Context().Err() == nil {
		return nil, errHungUp
	}
	return resp, err
}

// witness tells of requests.
type witness struct {
	http.RoundTripper
	server string
	asked  func(Request)
}

// WrappedRoundTripper is as that of impatient.
func (w witness) WrappedRoundTripper() http.RoundTripper { return w.RoundTripper }

func (w witness) RoundTrip(r *http.Request) (*http.Response, error) {
	began := boottime.Now()
	resp, err := w.RoundTripper.RoundTrip(r)
	told := Request{Server: w.server, Method: r.Method, Path: r.URL.Path, Took: boottime.Now().Sub(began)}
	if resp != nil {
		told.Status = resp.StatusCode
	}
	w.asked(told)
	return resp, err
}

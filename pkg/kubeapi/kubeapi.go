// Package kubeapi gives a client for the API server of this node, from the
// first of several kubeconfigs that works. Whatever is wrong with a file or a
// server is a state to get over, never a reason to end: a kubeconfig may be
// written after vipd has started, and certificates are renewed while it runs.
//
// The server named in a kubeconfig is not used: it is the VIP on most clusters,
// and vipd must not need the address that it is there to put up.
package kubeapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// serverName is in every API server certificate that kubeadm makes; 127.0.0.1
// is not.
const serverName = "kubernetes"

// maxKubeconfig bounds what is read into memory, in bytes.
const maxKubeconfig = 1 << 20

// Options say whom to talk to and as whom.
type Options struct {
	// Server is the host and port to dial.
	Server string
	// Kubeconfigs are tried in order, starting with the one that worked last.
	Kubeconfigs []string
	// UserAgent names vipd and its version in the API server's audit log.
	UserAgent string
	// Log may be nil.
	Log *zap.Logger
	// Dial may be nil; tests use it to reach a server in another namespace.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Client is safe for use by several goroutines.
type Client struct {
	opts Options

	mu      sync.Mutex
	sources []*source
	current int
	health  health
}

// source is one kubeconfig with the client made from it.
type source struct {
	path   string
	stamp  stamp
	client *coordinationv1client.CoordinationV1Client
}

// stamp tells whether a file is another one than before.
type stamp struct {
	modified time.Time
	size     int64
}

// New returns a client that has not read anything yet.
func New(opts Options) *Client {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	c := &Client{opts: opts}
	for _, path := range opts.Kubeconfigs {
		c.sources = append(c.sources, &source{path: path})
	}
	return c
}

// Call is one request to an API server.
type Call = func(context.Context, coordinationv1client.CoordinationV1Interface) error

// Do runs call with the credentials that worked last, and after a failure that
// other credentials could mend with the next ones. An answer about the object
// itself (not found, conflict, already exists) is returned as it is. After a
// timeout the next Do begins with the next kubeconfig and a fresh connection.
func (c *Client) Do(ctx context.Context, call Call) error {
	var errs []error
	first := c.first()
	for i := range c.sources {
		n := (first + i) % len(c.sources)
		err := c.try(ctx, n, call)
		if err == nil || aboutObject(err) {
			c.succeeded(n)
			return err
		}
		errs = append(errs, fmt.Errorf("%s: %w", c.sources[n].path, explain(err, c.opts.Server)))
		if ctx.Err() != nil {
			c.startWith((n + 1) % len(c.sources))
			break
		}
	}
	err := errors.Join(errs...)
	if !errors.Is(ctx.Err(), context.Canceled) {
		c.failed(err)
	}
	return err
}

func (c *Client) try(ctx context.Context, n int, call Call) error {
	client, err := c.client(n)
	if err != nil {
		return err
	}
	err = call(ctx, client)
	if err != nil && ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		// What a server says to a connection that is being given up.
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	if apierrors.IsUnauthorized(err) {
		// A renewed certificate may lie behind an unchanged name.
		c.forget(n)
	}
	return err
}

func (c *Client) first() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current
}

func (c *Client) startWith(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = n
}

func (c *Client) forget(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sources[n].client = nil
}

// client returns the client of a kubeconfig, made anew if the file changed.
func (c *Client) client(n int) (*coordinationv1client.CoordinationV1Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sources[n]
	info, err := os.Stat(s.path)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	now := stamp{modified: info.ModTime(), size: info.Size()}
	if s.client != nil && s.stamp == now {
		return s.client, nil
	}
	config, err := c.load(s.path, info)
	if err != nil {
		return nil, err
	}
	s.client, err = coordinationv1client.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("use kubeconfig: %w", err)
	}
	s.stamp = now
	return s.client, nil
}

// load reads a kubeconfig and keeps of it who we are and whom we trust.
func (c *Client) load(path string, info os.FileInfo) (*rest.Config, error) {
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
	for _, cluster := range file.Clusters {
		// The file's server is not used, nor is the way to it, nor its wish
		// not to be verified.
		cluster.Server, cluster.ProxyURL = "https://"+c.opts.Server, ""
		cluster.TLSServerName, cluster.InsecureSkipTLSVerify = serverName, false
	}
	config, err := clientcmd.NewDefaultClientConfig(*file, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("use kubeconfig: %w", err)
	}
	config.UserAgent = c.opts.UserAgent
	config.Dial = c.opts.Dial
	// Straight to the server, whatever HTTPS_PROXY says: a proxy may be behind
	// the VIP.
	config.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	config.QPS = -1 // paced by the lease, not by the client
	// HTTP/1.1: a request that is given up closes its connection, so the next
	// one is not queued behind a server that hangs.
	config.NextProtos = []string{"http/1.1"}
	config.Wrap(func(rt http.RoundTripper) http.RoundTripper { return impatient{rt} })
	return config, nil
}

// impatient keeps client-go from waiting for as long as a server asks
// (Retry-After) and trying again: vipd has a deadline of its own. Nor does it
// let client-go take a connection that breaks for an answer, as it does for a
// read (asked again a second later) and a watch (taken for one that ended).
type impatient struct{ http.RoundTripper }

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

// Package kubeapi provides clients for the API servers of one cluster, with the first of several
// kubeconfigs that works. No error of a file or a server is final: a kubeconfig may be written
// after vipd has started, and certificates are renewed while vipd runs.
//
// The server named in a kubeconfig is not used: on most clusters it is the VIP, and vipd must not
// need the address that vipd itself adds. vipd uses the API server of its own node, and the servers
// of the other nodes when that one does not answer.
package kubeapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Options configures a Client.
type Options struct {
	// Server is the host:port of this node's own API server, and the only server until Prefer names
	// others.
	Server string
	// Kubeconfigs are tried in order, starting with the one that worked last.
	Kubeconfigs []string
	// Hedge is how long a server may take before the next server is asked as well; 0 means that the
	// next server is asked only after a failure.
	Hedge time.Duration
	// UserAgent is vipd's name and version in the audit log of the API server.
	UserAgent string
	// Observe, if set, is called with each Request, when the header of the answer has arrived, and
	// with each Disconnected. Observe must not block.
	Observe func(Event)
	// Log may be nil.
	Log *zap.Logger
	// Dial may be nil; tests use Dial to reach a server in another namespace.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Client is safe for concurrent use.
type Client struct {
	opts Options

	mu      sync.Mutex
	servers []string // in order of preference
	streams map[*stream]bool
	skip    int // failed streams in a row
	sources []*source
	current int
	left    boottime.Instant   // when another source replaced the first one
	health  map[string]*health // by server
	ready   map[string]boottime.Instant
	becomes chan struct{}            // closed when a server becomes ready
	slots   map[string]chan struct{} // by server, see dialer
}

// New returns a Client that has read no file yet.
func New(opts Options) *Client {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	if opts.Observe == nil {
		opts.Observe = func(Event) {}
	}
	c := &Client{opts: opts, servers: []string{opts.Server}, streams: make(map[*stream]bool), health: make(map[string]*health),
		becomes: make(chan struct{}), slots: make(map[string]chan struct{})}
	for _, path := range opts.Kubeconfigs {
		c.sources = append(c.sources, &source{path: path, clients: make(map[string]*clients)})
	}
	return c
}

// Request is a request that ended.
type Request struct {
	// Server is the host:port of the server.
	Server string
	// Method is the HTTP method, Path the path of the URL.
	Method, Path string
	// Status is the HTTP status, 0 without an answer.
	Status int
	// Took is the time to the header of the answer.
	Took time.Duration
}

// Call is one request for Leases to one API server.
type Call = func(context.Context, coordinationv1client.CoordinationV1Interface) error

// call is one request to one API server.
type call func(context.Context, *clients) error

// Do runs call against one server after the other, in the order of Prefer, until one server
// answers. A server that exceeds Hedge is not cancelled: the next server is asked as well, so call
// may run several times concurrently, and the result of the first success counts. An answer about
// the object itself (not found, conflict, already exists) is an answer.
//
// This is safe for a write that is conditional on a version: one server commits the write, and the
// others meet a conflict. So a conflict counts only when no other server is left that may have
// committed the write and has not answered yet.
func (c *Client) Do(ctx context.Context, f Call) error {
	return c.do(ctx, func(ctx context.Context, s *clients) error { return f(ctx, s.coordination) })
}

// Prefer sets the servers, in the order in which to ask them. Streams of other servers than the
// first one end, so that the caller opens them on the first server.
func (c *Client) Prefer(servers []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(servers) == 0 || slices.Equal(servers, c.servers) {
		return
	}
	for _, server := range c.servers {
		if !slices.Contains(servers, server) {
			c.drop(server)
		}
	}
	c.servers, c.skip = slices.Clone(servers), 0
	for s := range c.streams {
		if s.server != servers[0] {
			s.end()
		}
	}
}

// drop removes a server. The caller holds the lock.
func (c *Client) drop(server string) {
	delete(c.health, server)
	delete(c.slots, server)
	for _, s := range c.sources {
		if old := s.clients[server]; old != nil {
			utilnet.CloseIdleConnectionsFor(old.http.Transport)
			delete(s.clients, server)
		}
	}
}

func (c *Client) order() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.servers
}

// ask runs call against one server with the credentials that worked last, and with the next ones
// after a failure that other credentials could fix. After a timeout, the next ask begins with the
// next kubeconfig and a new connection.
func (c *Client) ask(ctx context.Context, server string, f call) error {
	var errs []error
	first := c.first()
	for i := range c.sources {
		n := (first + i) % len(c.sources)
		err := c.try(ctx, server, n, f)
		if err == nil || aboutObject(err) {
			c.succeeded(server, n)
			return err
		}
		errs = append(errs, fmt.Errorf("%s: %w", c.sources[n].path, c.refusal(explain(err, server), server)))
		if ctx.Err() != nil {
			if !errors.Is(ctx.Err(), context.Canceled) {
				c.startWith((n + 1) % len(c.sources))
			}
			break
		}
	}
	err := errors.Join(errs...)
	if !errors.Is(ctx.Err(), context.Canceled) && !errors.Is(err, errNotYet) {
		c.failed(server, err)
	}
	return err
}

func (c *Client) try(ctx context.Context, server string, n int, f call) error {
	s, err := c.clients(server, n)
	if err != nil {
		return err
	}
	err = f(ctx, s)
	if err != nil && ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		// The server's answer on a connection that is being cancelled.
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	if apierrors.IsUnauthorized(err) {
		// A file with an unchanged name may have a renewed certificate.
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
	c.use(n)
}

// use sets the kubeconfig to begin with. The caller holds the lock.
func (c *Client) use(n int) {
	if c.current == 0 && n != 0 {
		c.left = boottime.Now()
	}
	c.current = n
}

// reconsider makes the next call begin with the first kubeconfig, if another one replaced it at
// least settleTime ago: the error may be gone, and the first kubeconfig is the preferred one.
// reconsider is for calls that may take a while.
func (c *Client) reconsider() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := boottime.Now(); c.current != 0 && now.Sub(c.left) >= settleTime {
		c.current, c.left = 0, now
	}
}

// Package kubeapi gives clients for the API servers of one cluster, from the
// first of several kubeconfigs that works. Whatever is wrong with a file or a
// server is a state to get over, never a reason to end: a kubeconfig may be
// written after vipd has started, and certificates are renewed while it runs.
//
// The server named in a kubeconfig is not used: it is the VIP on most clusters,
// and vipd must not need the address that it is there to put up. It talks to the
// API server of its own node, and when that one does not answer, to the others.
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
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// Options say whom to talk to and as whom.
type Options struct {
	// Server is the host and port of this node's own API server. It is the only
	// one until Prefer names others.
	Server string
	// Kubeconfigs are tried in order, starting with the one that worked last.
	Kubeconfigs []string
	// Hedge is how long a server may take before the next one is asked as well;
	// 0: until it has failed.
	Hedge time.Duration
	// UserAgent names vipd and its version in the API server's audit log.
	UserAgent string
	// Broken, if set, is told of each connection to a server that ended, whoever
	// ended it. It must not block.
	Broken func(server string)
	// Asked, if set, is told of each request that ended or was given up, once the
	// head of its answer is there. It must not block.
	Asked func(Request)
	// Log may be nil.
	Log *zap.Logger
	// Dial may be nil; tests use it to reach a server in another namespace.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Client is safe for use by several goroutines.
type Client struct {
	opts Options

	mu      sync.Mutex
	servers []string // in order of preference
	streams map[*stream]bool
	skip    int // how many servers failed a stream in a row
	sources []*source
	current int
	health  map[string]*health // by server
}

// New returns a client that has not read anything yet.
func New(opts Options) *Client {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	if opts.Broken == nil {
		opts.Broken = func(string) {}
	}
	if opts.Asked == nil {
		opts.Asked = func(Request) {}
	}
	c := &Client{opts: opts, servers: []string{opts.Server}, streams: make(map[*stream]bool), health: make(map[string]*health)}
	for _, path := range opts.Kubeconfigs {
		c.sources = append(c.sources, &source{path: path, clients: make(map[string]*clients)})
	}
	return c
}

// Request is one that was made.
type Request struct {
	// Server is its host:port.
	Server string
	// Method is HTTP's, Path that of the URL.
	Method, Path string
	// Status is HTTP's, 0 without an answer.
	Status int
	// Took is until the head of the answer.
	Took time.Duration
}

// Call is one request for Leases to one API server.
type Call = func(context.Context, coordinationv1client.CoordinationV1Interface) error

// call is one request to one API server.
type call func(context.Context, *clients) error

// Do runs call against one server after the other, in the order of Prefer,
// until one gives an answer. A server that takes longer than Hedge is not given
// up: the next one is asked beside it, so call may run several times at once,
// and what the first to succeed came to counts. An answer about the object
// itself (not found, conflict, already exists) is an answer.
//
// For a write that is tied to a version this is safe: whichever server commits
// it first, the others meet a conflict. So a conflict counts only when no other
// server is left that may have committed it and is slow to say so.
func (c *Client) Do(ctx context.Context, f Call) error {
	return c.do(ctx, func(ctx context.Context, s *clients) error { return f(ctx, s.coordination) })
}

// Prefer says which servers there are, the first one to be asked first. Streams
// that go to another one than the first end, to be opened there.
func (c *Client) Prefer(servers []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(servers) == 0 || slices.Equal(servers, c.servers) {
		return
	}
	c.servers, c.skip = slices.Clone(servers), 0
	for s := range c.streams {
		if s.server != servers[0] {
			s.end()
		}
	}
}

func (c *Client) order() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.servers
}

// ask runs call against one server with the credentials that worked last, and
// after a failure that other credentials could mend with the next ones. After a
// timeout the next ask begins with the next kubeconfig and a fresh connection.
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
		errs = append(errs, fmt.Errorf("%s: %w", c.sources[n].path, explain(err, server)))
		if ctx.Err() != nil {
			if !errors.Is(ctx.Err(), context.Canceled) {
				c.startWith((n + 1) % len(c.sources))
			}
			break
		}
	}
	err := errors.Join(errs...)
	if !errors.Is(ctx.Err(), context.Canceled) {
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

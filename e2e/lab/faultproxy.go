package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// proxyGrace is how long the end of a proxy waits for requests in flight. A watch would never end,
// and is cut.
const proxyGrace = 500 * time.Millisecond

// An Effect is the fault of one request to an API server. The zero value passes the request and its
// answer unchanged.
type Effect struct {
	// Delay delays the request before it reaches the server.
	Delay time.Duration
	// Late passes the request to the server even if the client has gone away meanwhile.
	Late bool
	// Hang sends no answer. The request ends when the client goes away.
	Hang bool
	// Abort closes the connection without an answer, as a server that dies does.
	Abort bool
	// Status, if not 0, is the answer; the server never gets the request.
	Status int
	// Stall stops the answer after that time; a watch falls silent.
	Stall time.Duration
	// DelayAnswer delays the answer; the server has handled the request.
	DelayAnswer time.Duration
}

// Interpose puts a proxy between vipd on the node and all API servers: f returns the effect of each
// request, and may be called concurrently. The node's other clients, and the API server's requests
// to itself, do not use the proxy. vipd's open connections are ended, so that it opens new ones;
// requests in flight at that moment fail.
//
// The proxy has the certificate of an API server and the rights of admin.conf. If the server is
// unreachable, the connection is closed without an answer. undo removes the proxy and may be called
// repeatedly; Close of the lab removes it as well.
// takes it away and may be called again; Close of the lab does it as well.
func (n *Node) Interpose(f func(*http.Request) Effect) (undo func() error, err error) {
	p, err := n.newFaultProxy(f)
	if err != nil {
		return nil, fmt.Errorf("interpose on %s: %w", n.Name, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.interposed != nil {
		return nil, fmt.Errorf("interpose on %s: a proxy is there already", n.Name)
	}
	if err := p.start(); err != nil {
		return nil, fmt.Errorf("interpose on %s: %w", n.Name, err)
	}
	n.interposed = p
	return func() error { return n.endProxy(p) }, nil
}

// endInterposed ends the node's proxy if it has one.
func (n *Node) endInterposed() error {
	n.mu.Lock()
	p := n.interposed
	n.mu.Unlock()
	return n.endProxy(p)
}

func (n *Node) endProxy(p *faultProxy) error {
	n.mu.Lock()
	mine := p != nil && n.interposed == p
	if mine {
		n.interposed = nil
	}
	n.mu.Unlock()
	if !mine {
		return nil // none, or ended before
	}
	return p.end()
}

// faultProxy is a reverse proxy in a node's namespace, with the redirection of vipd's connections
// to it.
type faultProxy struct {
	node    *Node
	effect  func(*http.Request) Effect
	server  *http.Server
	forward *httputil.ReverseProxy
	onward  *http.Transport // to the API servers

	life   context.Context    // of the proxy
	cancel context.CancelFunc // ends it
	served chan struct{}      // closed when no connection is accepted any more
	conns  sync.WaitGroup
}

func (n *Node) newFaultProxy(f func(*http.Request) Effect) (*faultProxy, error) {
	config, err := n.RESTConfig("admin.conf")
	if err != nil {
		return nil, err
	}
	onward, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, fmt.Errorf("read admin.conf: %w", err)
	}
	cert, err := n.proxyCertificate()
	if err != nil {
		return nil, err
	}
	p := &faultProxy{node: n, effect: f, served: make(chan struct{})}
	p.onward = &http.Transport{
		DialContext: n.NS.Dial, TLSClientConfig: onward,
		DisableCompression: true, MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second,
	}
	silent := log.New(io.Discard, "", 0) // connections break here on purpose
	p.forward = &httputil.ReverseProxy{
		Rewrite: p.rewrite, Transport: p.onward, FlushInterval: -1, ErrorLog: silent,
		ModifyResponse: answer,
		ErrorHandler:   func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.life, p.cancel = ctx, cancel
	p.server = &http.Server{
		Handler: p, ErrorLog: silent, ConnState: p.count, ConnContext: withDestination,
		BaseContext: func(net.Listener) context.Context { return ctx },
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert,
			NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12,
		},
	}
	return p, nil
}

// start listens, and then redirects.
func (p *faultProxy) start() error {
	var listener net.Listener
	err := p.node.NS.Do(func() (err error) {
		at := netip.AddrPortFrom(loopback, redirectPort).String()
		listener, err = new(net.ListenConfig).Listen(context.Background(), "tcp4", at)
		return err
	})
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	go func() {
		defer close(p.served)
		// Serve always returns an error at its end.
		_ = p.server.Serve(tls.NewListener(listener, p.server.TLSConfig))
	}()
	err = p.node.redirect()
	if vipd := p.node.Vipd; err == nil && vipd.Running() {
		err = hangUp(vipd.Pid(), Port)
	}
	if err != nil {
		return errors.Join(err, p.end())
	}
	return nil
}

// end first lets new connections bypass the proxy, then ends the existing ones, and last removes
// the kernel's translation for them.
func (p *faultProxy) end() error {
	straight := p.node.redirectNoMore()
	ctx, cancel := context.WithTimeout(context.Background(), proxyGrace)
	defer cancel()
	_ = p.server.Shutdown(ctx) // the remaining ones are cut below
	p.cancel()
	_ = p.server.Close()
	<-p.served
	p.conns.Wait()
	p.onward.CloseIdleConnections()
	return errors.Join(straight, p.node.forgetRedirect())
}

// count counts the connections, each of which has a goroutine.
func (p *faultProxy) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		p.conns.Add(1)
	case http.StateClosed, http.StateHijacked:
		p.conns.Done()
	case http.StateActive, http.StateIdle:
	}
}

// Keys of a request's context.
type (
	destinationKey struct{} // the original destination of the client's connection, a string
	effectKey      struct{} // the request's Effect
)

func withDestination(ctx context.Context, c net.Conn) context.Context {
	if over, ok := c.(*tls.Conn); ok {
		c = over.NetConn()
	}
	to, err := originalDestination(c)
	if err != nil {
		return ctx // a connection to the proxy itself, without a destination
	}
	return context.WithValue(ctx, destinationKey{}, to.String())
}

func (p *faultProxy) rewrite(r *httputil.ProxyRequest) {
	r.Out.URL.Scheme = "https"
	r.Out.URL.Host, _ = r.In.Context().Value(destinationKey{}).(string)
}

// ServeHTTP applies the effect to a request.
func (p *faultProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The server notices that a client goes away only after it has read the body.
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	ctx := r.Context()
	e := p.effect(r)
	if e.Late { // outlives its client, but not the proxy
		late, stop := context.WithCancel(context.WithoutCancel(ctx))
		defer stop()
		defer context.AfterFunc(p.life, stop)()
		ctx = late
	}
	if pass(ctx, e.Delay) != nil {
		panic(http.ErrAbortHandler)
	}
	switch {
	case e.Hang:
		<-ctx.Done()
		panic(http.ErrAbortHandler)
	case e.Abort:
		panic(http.ErrAbortHandler)
	case e.Status != 0:
		refuse(w, e.Status)
	default:
		r = r.WithContext(context.WithValue(ctx, effectKey{}, e))
		r.Body = io.NopCloser(bytes.NewReader(body))
		p.forward.ServeHTTP(w, r)
	}
}

// answer delays an answer, or stalls it. An error closes the connection.
func answer(resp *http.Response) error {
	ctx := resp.Request.Context()
	e, _ := ctx.Value(effectKey{}).(Effect)
	if e.Stall > 0 {
		resp.Body = &stalling{ReadCloser: resp.Body, ctx: ctx, at: time.Now().Add(e.Stall)}
	}
	return pass(ctx, e.DelayAnswer)
}

// stalling is a body that stalls at some time.
type stalling struct {
	io.ReadCloser
	ctx context.Context
	at  time.Time
}

func (s *stalling) Read(b []byte) (int, error) {
	n, err := s.ReadCloser.Read(b)
	if time.Now().After(s.at) {
		<-s.ctx.Done()
		return 0, s.ctx.Err()
	}
	return n, err
}

// refuse answers as an API server does, including its Retry-After of one second for too many
// requests.
func refuse(w http.ResponseWriter, code int) {
	status := metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
		Code: int32(code), Message: "the lab refuses this request: " + http.StatusText(code),
	}
	switch code {
	case http.StatusTooManyRequests:
		status.Reason = metav1.StatusReasonTooManyRequests
		w.Header().Set("Retry-After", "1")
	case http.StatusConflict:
		status.Reason = metav1.StatusReasonConflict
	case http.StatusInternalServerError:
		status.Reason = metav1.StatusReasonInternalError
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(status) // fails if the client is gone
}

// pass waits for d, or for the end of ctx.
func pass(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

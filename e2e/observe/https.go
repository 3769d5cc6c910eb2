package observe

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
)

const (
	requestTimeout = time.Second
	// maxInFlight is twice the number of hanging requests of one second.
	maxInFlight = 200
)

// HTTPS requests a path from the VIP at an interval, whatever happened to earlier requests, each time
// over a new connection, like a client without one.
type HTTPS struct {
	ns     *lab.Namespace
	target netip.AddrPort
	config *tls.Config
	path   string
	every  time.Duration
}

// readyzInterval is longer than that of other requests: an API server asks etcd before it answers.
const readyzInterval = 100 * time.Millisecond

// NewHTTPS returns a client in the namespace that requests /version every 10 ms, trusts the CA in caFile and
// expects a certificate for the target's address.
func NewHTTPS(ns *lab.Namespace, target netip.AddrPort, caFile string) (*HTTPS, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("read CA: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read CA: no certificate in %s", caFile)
	}
	return &HTTPS{ns: ns, target: target, path: "/version", every: record.RequestInterval, config: &tls.Config{
		RootCAs:    roots,
		ServerName: target.Addr().String(),
		NextProtos: []string{"http/1.1"},
		MinVersion: tls.VersionTLS12,
	}}, nil
}

// Readyz returns the same client, which requests /readyz, ten times a second: only an API server that is
// ready answers it.
func (h *HTTPS) Readyz() *HTTPS {
	ready := *h
	ready.path, ready.every = "/readyz", readyzInterval
	return &ready
}

// Run sends requests. After ctx has ended it waits for requests in flight, up to their timeout, to
// record each outcome.
func (h *HTTPS) Run(ctx context.Context, to *record.Recorder, ready func()) error {
	return often(ctx, h.every, to, ready, h.request)
}

// often makes a request at an interval, whatever happened to earlier ones, until ctx ends.
func often(ctx context.Context, every time.Duration, to *record.Recorder, ready func(), request func(start record.Time) record.Request) error {
	ready()
	var g errgroup.Group
	g.SetLimit(maxInFlight)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		start := record.Now()
		if !g.TryGo(func() error { to.Request(request(start)); return nil }) {
			to.Request(record.Request{Start: start, End: start, Err: "not tried: too many in flight"})
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return g.Wait()
		}
	}
}

func (h *HTTPS) request(start record.Time) record.Request {
	node, err := h.get()
	r := record.Request{Start: start, End: record.Now(), Node: node}
	if err != nil {
		r.Err = err.Error()
	}
	return r
}

// get sends one request without net/http's client, which may use a connection that was dialled for
// another request.
func (h *HTTPS) get() (node string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	conn, err := h.connect(ctx)
	if err != nil {
		return "", err
	}
	defer conn.NetConn().Close()
	return nodeOf(conn.ConnectionState().PeerCertificates[0]), h.ask(conn, "Connection: close\r\n")
}

// connect opens a connection. The deadline of ctx becomes the deadline of the connection.
func (h *HTTPS) connect(ctx context.Context) (*tls.Conn, error) {
	raw, err := h.ns.Dial(ctx, "tcp", h.target.String())
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	if err := raw.SetDeadline(deadline); err != nil {
		raw.Close()
		return nil, err
	}
	conn := tls.Client(raw, h.config)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return conn, nil
}

// ask sends a request with headers over a connection.
func (h *HTTPS) ask(conn *tls.Conn, headers string) error {
	req := "GET " + h.path + " HTTP/1.1\r\nHost: " + h.target.String() + "\r\n" + headers + "\r\n"
	if _, err := io.WriteString(conn, req); err != nil {
		return fmt.Errorf("send request: %w", err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return fmt.Errorf("read response: %w", err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return fmt.Errorf("read response: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("response is %s", resp.Status)
	}
	return nil
}

// nodeOf returns the node of an API server: kubeadm puts the node's name into the certificate,
// besides the names of the service, which all begin with "kubernetes", and names of the VIP, which
// contain dots.
func nodeOf(cert *x509.Certificate) string {
	for _, name := range cert.DNSNames {
		if !strings.HasPrefix(name, "kubernetes") && !strings.Contains(name, ".") {
			return name
		}
	}
	return ""
}

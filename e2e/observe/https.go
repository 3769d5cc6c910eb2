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

	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/record"
)

const (
	requestTimeout = time.Second
	// maxInFlight is twice what a second of hanging attempts adds up to.
	maxInFlight = 200
)

// HTTPS asks the VIP for /version every 10 ms whatever became of the requests
// before, each time over a connection of its own, as a client does that has
// none yet.
type HTTPS struct {
	ns     *lab.Namespace
	target netip.AddrPort
	config *tls.Config
}

// NewHTTPS makes a client in the namespace that trusts the CA in caFile and
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
	return &HTTPS{ns: ns, target: target, config: &tls.Config{
		RootCAs:    roots,
		ServerName: target.Addr().String(),
		NextProtos: []string{"http/1.1"},
		MinVersion: tls.VersionTLS12,
	}}, nil
}

// Run makes requests. After ctx has ended it waits for those in flight, for
// as long as their timeout, so that each is recorded as it went.
func (h *HTTPS) Run(ctx context.Context, to *record.Recorder, ready func()) error {
	ready()
	var g errgroup.Group
	g.SetLimit(maxInFlight)
	ticker := time.NewTicker(record.RequestInterval)
	defer ticker.Stop()
	for {
		start := record.Now()
		if !g.TryGo(func() error { to.Request(h.request(start)); return nil }) {
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

// get makes one request, by hand: net/http may let a request use a connection
// that was dialled for another, and this is to time one of its own.
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

// connect opens a connection. The deadline of ctx is then that of the connection,
// too.
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

// ask makes a request, with headers, over a connection.
func (h *HTTPS) ask(conn *tls.Conn, headers string) error {
	req := "GET /version HTTP/1.1\r\nHost: " + h.target.String() + "\r\n" + headers + "\r\n"
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

// nodeOf finds whose API server this is: kubeadm puts the node's name into
// its certificate beside the names of the service, which begin alike.
func nodeOf(cert *x509.Certificate) string {
	for _, name := range cert.DNSNames {
		if !strings.HasPrefix(name, "kubernetes") {
			return name
		}
	}
	return ""
}

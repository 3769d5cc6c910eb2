package doctor

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
)

// maxAnswer bounds an answer, in bytes.
const maxAnswer = 64 << 10

// readyz queries an API server over a connection. The server's certificate is not verified: the
// answer is only displayed, and the request contains no secret.
func readyz(ctx context.Context, conn net.Conn) (status int, body string, err error) {
	t := &http.Transport{
		DialContext:     func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "kubernetes"},
	}
	defer t.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://kubernetes/readyz?verbose", nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := t.RoundTrip(r)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp.StatusCode, string(b), err
}

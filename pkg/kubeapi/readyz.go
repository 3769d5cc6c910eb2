package kubeapi

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// maxReadyz bounds what is read of an answer, in bytes; a real one has some 2 kB.
const maxReadyz = 16 << 10

// Readyz asks one server whether it is ready, and returns its answer: the status
// and the list of checks. Only an answer is without error. known is false if
// nothing was asked, for want of credentials.
func (c *Client) Readyz(ctx context.Context, server string) (status int, body string, known bool, err error) {
	s, err := c.clients(server, c.first())
	if err != nil {
		return 0, "", false, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+server+"/readyz", nil)
	if err != nil {
		return 0, "", false, fmt.Errorf("ask %s: %w", server, err)
	}
	resp, err := s.http.Do(r)
	if err != nil {
		return 0, "", true, fmt.Errorf("ask %s: %w", server, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxReadyz))
	if err != nil {
		return 0, "", true, fmt.Errorf("ask %s: %w", server, err)
	}
	return resp.StatusCode, string(b), true, nil
}

package kubeapi

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// maxReadyz bounds an answer, in bytes; a real answer has about 2 kB.
const maxReadyz = 16 << 10

// Readyz requests /readyz of one server, and returns the status and the list of checks. An error
// means that there was no answer; known is false if no request was made for lack of credentials.
func (c *Client) Readyz(ctx context.Context, server string) (status int, body string, known bool, err error) {
	s, err := c.clients(server, c.first())
	if err != nil {
		return 0, "", false, err
	}
	status, body, err = s.readyz(ctx)
	return status, body, true, err
}

func (s *clients) readyz(ctx context.Context) (status int, body string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+s.server+"/readyz", nil)
	if err != nil {
		return 0, "", fmt.Errorf("ask %s: %w", s.server, err)
	}
	resp, err := s.http.Do(r)
	if err != nil {
		return 0, "", fmt.Errorf("ask %s: %w", s.server, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxReadyz))
	if err != nil {
		return 0, "", fmt.Errorf("ask %s: %w", s.server, err)
	}
	return resp.StatusCode, string(b), nil
}

// ready returns an error unless the server reports that it is ready.
func (s *clients) ready(ctx context.Context) error {
	status, _, err := s.readyz(ctx)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("it answers %d %s to /readyz", status, http.StatusText(status))
	}
	return err
}

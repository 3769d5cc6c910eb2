package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// statusPort is the port of the status server on each host with vipd.
const statusPort = 2112

// StatusClient returns a client of the host's vipd with persistent connections.
func (h *Host) StatusClient() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return h.NS.Dial(ctx, network, address)
		}}}
}

// Status returns the answer of the host's vipd for a path.
func (h *Host) Status(ctx context.Context, path string) ([]byte, error) {
	c := h.StatusClient()
	defer c.CloseIdleConnections()
	return GetStatus(ctx, c, path)
}

// GetStatus returns the answer of a vipd for a path, with a StatusClient.
func GetStatus(ctx context.Context, c *http.Client, path string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", statusPort, path), nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("get %s: %s", path, resp.Status)
	}
	return body, err
}

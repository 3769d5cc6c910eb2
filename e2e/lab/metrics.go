package lab

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// metricsTimeout is generous: the metrics of a busy server are large.
const metricsTimeout = 30 * time.Second

// Metrics returns the metrics of the node's API server, in Prometheus' text format.
func (n *Node) Metrics(ctx context.Context) ([]byte, error) {
	client, err := n.httpClient()
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	client.Timeout = metricsTimeout
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d/metrics", Port), nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("read metrics of %s: %w", n.Name, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("answer %s", resp.Status)
	}
	if err != nil {
		return nil, fmt.Errorf("read metrics of %s: %w", n.Name, err)
	}
	return text, nil
}

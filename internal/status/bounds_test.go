package status

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// TestManyConnections: the number of concurrent connections is limited, and a closed connection
// makes room for another.
func TestManyConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	s := New(Options{Address: address, Live: []Check{{"manager", passes}}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()

	var open []net.Conn
	deadline := time.Now().Add(30 * time.Second)
	for len(open) < maxConnections { // each is accepted before the next one connects
		c, err := net.Dial("tcp", address)
		if err != nil { // not listening yet
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
			continue
		}
		defer func() { _ = c.Close() }()
		if status := livez(t, c); status != http.StatusOK {
			t.Fatalf("connection %d: %d", len(open), status)
		}
		open = append(open, c)
	}
	for range 10 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if status := livez(t, c); status != 0 {
			t.Errorf("one too many: %d", status)
		}
		_ = c.Close()
	}
	_ = open[0].Close()
	for status := 0; status != http.StatusOK; {
		c, err := net.Dial("tcp", address)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("no room for one more: %v", err)
		}
		status = livez(t, c)
		_ = c.Close()
	}
}

// livez sends a request over a persistent connection and returns the HTTP status, 0 for no answer.
func livez(t *testing.T, c net.Conn) (status int) {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return 0
	}
	_, _ = fmt.Fscanf(c, "HTTP/1.1 %d", &status)
	return status
}

// TestManyServers: the number of series is limited.
func TestManyServers(t *testing.T) {
	m := NewMetrics(newTestBoard(&clock{since: time.Hour}))
	for i := range 10 * maxServers {
		m.LeaseRequest(fmt.Sprint("192.168.35.11:", i), "200")
	}
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "vipd_lease_requests_total" && len(f.GetMetric()) != maxServers+1 {
			t.Errorf("%d series, want one for each of %d servers, and one for all others", len(f.GetMetric()), maxServers)
		}
	}
}

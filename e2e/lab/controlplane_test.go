package lab_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"testing"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"

	"github.com/vipd-io/vipd/e2e/lab"
)

// An API server with a shutdown delay reports that it is not ready, and serves requests for that
// long.
func TestShutdownDelay(t *testing.T) {
	ctx := within(t, 2*time.Minute)
	n := shared.Nodes[2]
	if err := n.RestartAPIServer(ctx, "--shutdown-delay-duration=3s"); err != nil {
		t.Fatal(err)
	}
	client := direct(t, n)
	if _, err := n.APIServer.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for get(ctx, t, client, "/readyz") == http.StatusOK { // takes a moment
	}
	if got := get(ctx, t, client, "/readyz"); got != http.StatusInternalServerError {
		t.Errorf("/readyz in the delay: %d", got)
	}
	if got := get(ctx, t, client, "/version"); got != http.StatusOK {
		t.Errorf("/version in the delay: %d", got)
	}
	utilnet.CloseIdleConnectionsFor(client.Transport) // otherwise the server would wait for this client
	if state, err := n.APIServer.Wait(ctx); err != nil || !state.Success() {
		t.Errorf("ended with %v, %v", state, err)
	}
	if err := n.RestartAPIServer(ctx); err != nil {
		t.Fatal(err)
	}
}

// direct returns a client of the node's own API server.
func direct(t *testing.T, n *lab.Node) *http.Client {
	t.Helper()
	config, err := n.RESTConfig("admin.conf")
	if err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { utilnet.CloseIdleConnectionsFor(client.Transport) })
	return client
}

// get returns the status, 0 without an answer.
func get(ctx context.Context, t *testing.T, client *http.Client, path string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d%s", lab.Port, path), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// Each member can be made etcd's leader, also the current leader.
func TestLeadEtcd(t *testing.T) {
	ctx := within(t, 30*time.Second)
	for _, n := range append(shared.Nodes, shared.Nodes[2]) {
		if err := n.LeadEtcd(ctx); err != nil {
			t.Fatal(err)
		}
		for _, m := range shared.Nodes {
			// A former leader claims leadership until it hears of the new one.
			leads, err := m.LeadsEtcd(ctx)
			for ; err == nil && leads && m != n; leads, err = m.LeadsEtcd(ctx) {
			}
			if err != nil || leads != (m == n) {
				t.Errorf("%s is to lead: %s leads: %t, %v", n.Name, m.Name, leads, err)
			}
		}
	}
}

package kubeapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestEndlessAnswer: the client stops reading an answer without an end.
func TestEndlessAnswer(t *testing.T) {
	s := newServer(t)
	c, _ := newClient(s.addr(), s.write(t, filepath.Join(t.TempDir(), "admin.conf"), "me", nil))
	s.set(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for chunk := []byte(strings.Repeat(" ", 64<<10)); ; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	if err := do(t, c, get); !errors.Is(err, errTooLong) {
		t.Errorf("error = %v, want %v", err, errTooLong)
	}
}

// TestServersComeAndGo: no state of removed servers is kept.
func TestServersComeAndGo(t *testing.T) {
	s := newServer(t)
	c, _ := newClient(s.addr(), s.write(t, filepath.Join(t.TempDir(), "admin.conf"), "me", nil))
	for i := range 1000 {
		other := fmt.Sprintf("127.0.0.1:%d", i+1)
		c.Prefer([]string{s.addr(), other})
		_, _ = c.clients(other, 0)
		c.failed(other, errors.New("refused"))
	}
	c.Prefer([]string{s.addr()})
	must(t, do(t, c, get))
	if len(c.health) > 1 || len(c.slots) > 1 || len(c.sources[0].clients) > 1 {
		t.Errorf("kept: %d healths, %d slots, %d clients", len(c.health), len(c.slots), len(c.sources[0].clients))
	}
}

// TestManyKindsOfErrors: a server may answer anything; the log does not repeat everything.
func TestManyKindsOfErrors(t *testing.T) {
	s := newServer(t)
	c, logs := newClient(s.addr(), s.write(t, filepath.Join(t.TempDir(), "admin.conf"), "me", nil))
	for i := range 100 {
		s.set(refusal(http.StatusInternalServerError, metav1.StatusReason(fmt.Sprint("Reason", i))))
		_ = do(t, c, get)
	}
	if n := logs.FilterMessage(notUsable).Len(); n != maxKinds || len(c.health[s.addr()].failing) != maxKinds {
		t.Errorf("logged %d times, %d kinds are kept; want %d", n, len(c.health[s.addr()].failing), maxKinds)
	}
}

// TestManyPeers: the number of peers is bounded, because each one is probed.
func TestManyPeers(t *testing.T) {
	var endpoints []discoveryv1.EndpointSlice
	var nodes []corev1.Node
	for i := range 1000 {
		endpoints = append(endpoints, slice(6443, fmt.Sprintf("10.0.%d.%d", i/256, i%256)))
		nodes = append(nodes, node(fmt.Sprint("n", i), fmt.Sprintf("10.1.%d.%d", i/256, i%256), nil))
	}
	nodes = append(nodes, node(strings.Repeat("n", 1<<20), "10.0.0.0", nil))
	r := membership(DirectoryOptions{Port: 6443, Peers: []string{"10.2.0.1:6443"}, Own: func(netip.Addr) bool { return false }}, endpoints, nodes)
	if len(r.Peers) != maxPeers {
		t.Errorf("%d peers, want %d", len(r.Peers), maxPeers)
	}
	given := false
	for _, p := range r.Peers {
		given = given || p.Server == "10.2.0.1:6443"
		if len(p.Node) > maxName {
			t.Errorf("a name of %d bytes", len(p.Node))
		}
	}
	if !given {
		t.Error("one that was given is left out")
	}
}

// TestWatchLasts: the bound of an answer does not apply to a watch.
func TestWatchLasts(t *testing.T) {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "https://x/api/v1/nodes?watch=true&timeoutSeconds=5", nil)
	must(t, err)
	if !streams(r) {
		t.Error("a watch is taken for an answer that ends")
	}
}

package lab_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"

	"github.com/vipd-io/vipd/e2e/lab"
)

// dialAsVipd opens connections with sockets of vipd's group: a socket has the credentials of the
// thread that created it.
func dialAsVipd(n *lab.Node) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (c net.Conn, err error) {
		err = n.NS.Do(func() error {
			before, err := unix.SetfsgidRetGid(lab.VipdGroup)
			if err != nil {
				return err
			}
			c, err = new(net.Dialer).DialContext(ctx, network, address)
			_, back := unix.SetfsgidRetGid(before)
			if back != nil {
				panic(back) // another test would use the thread next
			}
			return err
		})
		return c, err
	}
}

// vipdsConfig returns the configuration of a client like vipd on n, of the API server at an
// address.
func vipdsConfig(t *testing.T, n *lab.Node, to netip.Addr) *rest.Config {
	t.Helper()
	config, err := n.RESTConfig("admin.conf")
	if err != nil {
		t.Fatal(err)
	}
	config.Host = fmt.Sprintf("https://%s:%d", to, lab.Port)
	config.Dial = dialAsVipd(n)
	return config
}

func vipdsClient(t *testing.T, n *lab.Node, to netip.Addr) *http.Client {
	t.Helper()
	client, err := rest.HTTPClientFor(vipdsConfig(t, n, to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { utilnet.CloseIdleConnectionsFor(client.Transport) })
	return client
}

// vipdsLeases returns a client of Leases like vipd's on n, without a timeout besides the context of
// each call.
func vipdsLeases(t *testing.T, n *lab.Node, to netip.Addr) coordinationclient.LeaseInterface {
	t.Helper()
	config := vipdsConfig(t, n, to)
	config.Timeout = 0
	client, err := coordinationclient.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lab.CloseIdle(client.RESTClient()) })
	return client.Leases(lab.LeaseNamespace)
}

// version requests /version and returns how long that took.
func version(t *testing.T, client *http.Client, to netip.Addr) (status int, took time.Duration, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(within(t, 10*time.Second), http.MethodGet, fmt.Sprintf("https://%s:%d/version", to, lab.Port), nil)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return 0, time.Since(begin), err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, time.Since(begin), err
}

var localhost = netip.MustParseAddr("127.0.0.1")

// Requests of vipd on a node take 200 ms longer, to any API server; those of others, on the node
// and elsewhere, do not. Afterwards everything is as before.
func TestInterpose(t *testing.T) {
	const delay = 200 * time.Millisecond
	n1, n2 := shared.Nodes[0], shared.Nodes[1]
	var seen atomic.Int32
	undo, err := n1.Interpose(func(*http.Request) lab.Effect { seen.Add(1); return lab.Effect{Delay: delay} })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n1.Interpose(func(*http.Request) lab.Effect { return lab.Effect{} }); err == nil {
		t.Error("interposed twice")
	}
	clients := []struct {
		name   string
		client *http.Client
		to     netip.Addr
		slow   bool
	}{
		{"vipd on n1, own API server", vipdsClient(t, n1, localhost), localhost, true},
		{"vipd on n1, own address", vipdsClient(t, n1, n1.IP), n1.IP, true},
		{"vipd on n1, peer's API server", vipdsClient(t, n1, n2.IP), n2.IP, true},
		{"vipd on n2, API server of n1", vipdsClient(t, n2, n1.IP), n1.IP, false},
		{"another client on n1", direct(t, n1), localhost, false},
	}
	for _, c := range clients {
		before := seen.Load()
		status, took, err := version(t, c.client, c.to)
		if status != http.StatusOK || err != nil {
			t.Errorf("%s: status %d, %v", c.name, status, err)
		}
		if went := seen.Load() > before; went != c.slow || c.slow && took < delay {
			t.Errorf("%s: through the proxy %t, took %v, want %t", c.name, went, took, c.slow)
		}
	}
	for range 2 {
		if err := undo(); err != nil {
			t.Error(err)
		}
	}
	before := seen.Load()
	for _, c := range clients {
		if status, _, err := version(t, c.client, c.to); status != http.StatusOK || err != nil {
			t.Errorf("%s, after undo: status %d, %v", c.name, status, err)
		}
	}
	if seen.Load() != before {
		t.Error("a request went through the proxy after undo")
	}
	if tables, err := n1.Tables(); err != nil || len(tables) > 0 {
		t.Errorf("nftables tables after undo: %v, %v", tables, err)
	}
}

// Each effect but Delay, as a client sees it.
func TestEffects(t *testing.T) {
	ctx := within(t, 30*time.Second)
	n := shared.Nodes[0]
	var effect atomic.Value
	effect.Store(lab.Effect{})
	undo, err := n.Interpose(func(*http.Request) lab.Effect { return effect.Load().(lab.Effect) })
	if err != nil {
		t.Fatal(err)
	}
	defer undo()
	leases := vipdsLeases(t, n, localhost)
	tests := []struct {
		name      string
		effect    lab.Effect
		ok        func(error) bool
		committed bool
	}{
		{"none", lab.Effect{}, func(err error) bool { return err == nil }, true},
		{"409", lab.Effect{Status: 409}, apierrors.IsConflict, false},
		{"500", lab.Effect{Status: 500}, apierrors.IsInternalError, false},
		// client-go waits for the time in the answer, and retries.
		{"429", lab.Effect{Status: 429}, func(err error) bool { return err != nil }, false},
		{"abort", lab.Effect{Abort: true}, func(err error) bool { return err != nil && ctx.Err() == nil }, false},
		{"hang", lab.Effect{Hang: true}, func(err error) bool { return err != nil }, false},
		{"late answer", lab.Effect{DelayAnswer: time.Minute}, func(err error) bool { return err != nil }, true},
	}
	for i, tt := range tests {
		name := fmt.Sprintf("effect-%d", i)
		effect.Store(tt.effect)
		short, cancel := context.WithTimeout(ctx, time.Second)
		_, err := leases.Create(short, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		cancel()
		if !tt.ok(err) {
			t.Errorf("%s: client saw %v", tt.name, err)
		}
		effect.Store(lab.Effect{})
		err = leases.Delete(ctx, name, metav1.DeleteOptions{})
		if committed := err == nil; committed != tt.committed || err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("%s: committed %t (%v), want %t", tt.name, committed, err, tt.committed)
		}
	}
}

// A watch passes the proxy event by event, and ends with it.
func TestWatchThroughProxy(t *testing.T) {
	ctx := within(t, 30*time.Second)
	n := shared.Nodes[0]
	undo, err := n.Interpose(func(*http.Request) lab.Effect { return lab.Effect{} })
	if err != nil {
		t.Fatal(err)
	}
	defer undo()
	const name = "watched"
	w, err := vipdsLeases(t, n, shared.Nodes[1].IP).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	leases, err := n.Leases()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leases.Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if e, ok := <-w.ResultChan(); !ok || e.Type != "ADDED" {
		t.Errorf("first event %+v, %t", e, ok)
	}
	if err := leases.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	if e, ok := <-w.ResultChan(); !ok || e.Type != "DELETED" {
		t.Errorf("second event %+v, %t", e, ok)
	}
	if err := undo(); err != nil {
		t.Error(err)
	}
	for range w.ResultChan() { // ends
	}
}

// A server receives a write after its client has given up.
func TestLateCommit(t *testing.T) {
	ctx := within(t, 30*time.Second)
	n := shared.Nodes[0]
	undo, err := n.Interpose(func(*http.Request) lab.Effect { return lab.Effect{Delay: 300 * time.Millisecond, Late: true} })
	if err != nil {
		t.Fatal(err)
	}
	defer undo()
	const name = "late"
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	_, err = vipdsLeases(t, n, localhost).Create(short, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err == nil {
		t.Error("the client had an answer")
	}
	leases, err := n.Leases()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err = leases.Get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := leases.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}

// A watch falls silent, and its connection stays open.
func TestStalledWatch(t *testing.T) {
	ctx := within(t, 30*time.Second)
	n := shared.Nodes[0]
	const stall = 300 * time.Millisecond
	undo, err := n.Interpose(func(*http.Request) lab.Effect { return lab.Effect{Stall: stall} })
	if err != nil {
		t.Fatal(err)
	}
	defer undo()
	const name = "stalled"
	w, err := vipdsLeases(t, n, localhost).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	<-time.After(stall) // from then on
	leases, err := n.Leases()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leases.Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := leases.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	select {
	case e := <-w.ResultChan():
		t.Errorf("event %+v", e)
	case <-time.After(500 * time.Millisecond):
	}
}

// An idle connection ends with the proxy: otherwise its owner would keep it.
func TestUndoEndsIdleConnections(t *testing.T) {
	n := shared.Nodes[0]
	for range 5 {
		undo, err := n.Interpose(func(*http.Request) lab.Effect { return lab.Effect{} })
		if err != nil {
			t.Fatal(err)
		}
		raw, err := dialAsVipd(n)(within(t, 5*time.Second), "tcp", fmt.Sprintf("127.0.0.1:%d", lab.Port))
		if err != nil {
			t.Fatal(err)
		}
		raw.SetDeadline(time.Now().Add(5 * time.Second))
		conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
		fmt.Fprint(conn, "GET /version HTTP/1.1\r\nHost: kubernetes\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err := undo(); err != nil {
			t.Error(err)
		}
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("read %v after undo, want EOF", err)
		}
		raw.Close()
	}
}

// Connections to one port end; others of the same process do not.
func TestHangUp(t *testing.T) {
	n := shared.Nodes[0]
	conn, err := n.NS.Dial(within(t, 5*time.Second), "tcp", fmt.Sprintf("127.0.0.1:%d", lab.Port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	other, err := n.NS.Dial(within(t, 5*time.Second), "tcp", "127.0.0.1:2379")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := lab.HangUp(os.Getpid(), lab.Port); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("read %d, %v from a connection that was hung up, want EOF", n, err)
	}
	other.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := other.Read(make([]byte, 1)); !os.IsTimeout(err) {
		t.Errorf("connection to another port: %v, want it unharmed", err)
	}
}

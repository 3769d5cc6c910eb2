package recovery

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/vipd-io/vipd/e2e/judge/record"
)

// TestReset: a client whose watch sends nothing cannot notice that the holder lost its power. The
// first byte that it sends afterwards has to be answered by a reset, because the client would
// otherwise wait until its kernel gives up.
func TestReset(t *testing.T) {
	s := stage(t)
	conn := watchNamespaces(t, s)
	defer conn.NetConn().Close()
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, conn.NetConn())
		ended <- err
	}()
	s.watch(record.Promise{Name: "reset", Title: "power-off", Moves: true, Crippled: true, Within: length + late}, func(ctx context.Context) error {
		if _, err := s.holder.PowerOff(); err != nil {
			return err
		}
		if err := s.reachable(ctx); err != nil {
			return err
		}
		select {
		case err := <-ended:
			t.Errorf("the connection ended before the client sent anything: %v", err)
			return nil
		default:
		}
		expectReset(t, conn.NetConn(), ended)
		return nil
	})
}

// atOnce is the maximum time from the send of a byte to the reset.
const atOnce = 200 * time.Millisecond

// expectReset sends one byte.
func expectReset(t *testing.T, conn net.Conn, ended <-chan error) {
	t.Helper()
	at := record.Now()
	if _, err := conn.Write([]byte{0}); err != nil {
		t.Errorf("the kernel did not accept the byte: %v", err)
		return
	}
	select {
	case err := <-ended:
		if took := record.Now().Sub(at); !errors.Is(err, syscall.ECONNRESET) || took > atOnce {
			t.Errorf("%v after %v, want a reset in %v", err, took, atOnce)
		} else {
			t.Logf("reset after %v", took)
		}
	case <-time.After(10 * time.Second):
		t.Error("no reset in 10 s")
	}
}

// watchNamespaces opens a connection to the VIP with a watch that has begun, from a client that
// sends nothing else.
func watchNamespaces(t *testing.T, s *scene) *tls.Conn {
	t.Helper()
	config, err := s.Nodes[0].RESTConfig("admin.conf")
	must(t, err)
	secure, err := rest.TLSConfigFor(config)
	must(t, err)
	raw, err := s.Clients[2].NS.Dial(t.Context(), "tcp", s.Endpoint().String())
	must(t, err)
	conn := tls.Client(raw, secure)
	must(t, conn.HandshakeContext(t.Context()))
	_, err = io.WriteString(conn, "GET /api/v1/namespaces?watch=true&timeoutSeconds=600 HTTP/1.1\r\nHost: "+s.Endpoint().String()+"\r\n\r\n")
	must(t, err)
	began := ""
	for in := bufio.NewReader(conn); !strings.Contains(began, `"type":"ADDED"`); { // the body has no end
		line, err := in.ReadString('\n')
		began += line
		if err != nil || !strings.HasPrefix(began, "HTTP/1.1 200 ") {
			t.Fatalf("watch: %v: %s", err, began)
		}
	}
	return conn
}

package status

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func passes(context.Context) error { return nil }
func fails(context.Context) error  { return errors.New("not read yet") }

func TestAnswers(t *testing.T) {
	s := New(Options{Live: []Check{{"manager", passes}}, Ready: []Check{{"manager", passes}, {"lease", fails}}})
	for _, tt := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/livez", 200, "[+]manager ok\n"},
		{"HEAD", "/livez", 200, ""},
		{"GET", "/readyz", 503, "[+]manager ok\n[-]lease: not read yet\n"},
		{"POST", "/livez", 405, "Method Not Allowed\n"},
		{"GET", "/etc/passwd", 404, "404 page not found\n"},
	} {
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
		if got := w.Body.String(); w.Code != tt.status || tt.method != "HEAD" && got != tt.body {
			t.Errorf("%s %s: %d %q", tt.method, tt.path, w.Code, got)
		}
	}
}

// TestBusyPort: a taken port is logged, and the server starts once the port is free.
func TestBusyPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.InfoLevel)
	logged := make(chan struct{})
	log := zap.New(core, zap.Hooks(func(zapcore.Entry) error { close(logged); return nil }))
	s := New(Options{Address: l.Addr().String(), Live: []Check{{"manager", passes}}, Log: log})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-logged
	if remedy, _ := logs.All()[0].ContextMap()["remedy"].(string); !strings.Contains(remedy, "--status-address") {
		t.Errorf("log = %v", logs.All())
	}
	_ = l.Close()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.opts.Address+"/livez", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(r)
		if err == nil {
			b, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if string(b) != "[+]manager ok\n" {
				t.Errorf("body %q", b)
			}
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("never there: %v", err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

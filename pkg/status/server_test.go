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

func fine(context.Context) error { return nil }
func ill(context.Context) error  { return errors.New("it was not read yet") }

func TestAnswers(t *testing.T) {
	s := New(Options{Live: []Check{{"manager", fine}}, Ready: []Check{{"manager", fine}, {"lease", ill}}})
	for _, tt := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/livez", 200, "[+]manager ok\n"},
		{"HEAD", "/livez", 200, ""},
		{"GET", "/readyz", 503, "[+]manager ok\n[-]lease: it was not read yet\n"},
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

// TestBusyPort: it is told of, nothing ends, and the server is there when the port is.
func TestBusyPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.InfoLevel)
	told := make(chan struct{})
	log := zap.New(core, zap.Hooks(func(zapcore.Entry) error { close(told); return nil }))
	s := New(Options{Address: l.Addr().String(), Live: []Check{{"manager", fine}}, Log: log})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-told
	if msg := logs.All()[0].Message; !strings.Contains(msg, "--status-address") {
		t.Errorf("log = %q", msg)
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

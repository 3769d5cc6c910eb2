package kubeapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// cluster is three API servers with one CA, and a client that prefers the first server.
func cluster(t *testing.T, hedge time.Duration) (*Client, [3]*apiServer) {
	t.Helper()
	ca := newAuthority(t)
	s := [3]*apiServer{newServerOf(t, ca), newServerOf(t, ca), newServerOf(t, ca)}
	path := s[0].write(t, filepath.Join(t.TempDir(), "admin.conf"), "me", nil)
	c := New(Options{Server: s[0].addr(), Kubeconfigs: []string{path}, Hedge: hedge})
	c.Prefer([]string{s[0].addr(), s[1].addr(), s[2].addr()})
	return c, s
}

// counts returns the number of requests to each server since the last call of counts.
func counts(s [3]*apiServer) (n [3]int) {
	for i := range s {
		n[i] = len(s[i].asked())
	}
	return n
}

// later answers after a delay, or when the client has cancelled the request.
func later(d time.Duration, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(d):
			h(w, r)
		case <-r.Context().Done():
		}
	}
}

func TestAnotherServer(t *testing.T) {
	t.Parallel()
	conflict := refusal(http.StatusConflict, metav1.StatusReasonConflict)
	notFound := refusal(http.StatusNotFound, metav1.StatusReasonNotFound)
	broken := refusal(http.StatusInternalServerError, metav1.StatusReasonInternalError)
	// A server on a busy machine answers within hedge; slow is between two and three times hedge.
	const hedge, slow = 2 * time.Second, 5 * time.Second
	tests := []struct {
		name    string
		servers [3]http.HandlerFunc
		is      func(error) bool // nil: no error
		asked   [3]int
	}{
		{"the first answers", [3]http.HandlerFunc{lease, lease, lease}, nil, [3]int{1, 0, 0}},
		{"the first hangs up", [3]http.HandlerFunc{hangUp, lease, lease}, nil, [3]int{1, 1, 0}},
		{"the first fails", [3]http.HandlerFunc{broken, lease, lease}, nil, [3]int{1, 1, 0}},
		{"the first hangs", [3]http.HandlerFunc{hang, lease, lease}, nil, [3]int{1, 1, 0}},
		{"two hang", [3]http.HandlerFunc{hang, hang, lease}, nil, [3]int{1, 1, 1}},
		{"the first is slow and the best", [3]http.HandlerFunc{later(slow, lease), hang, hang}, nil, [3]int{1, 1, 1}},
		{"an answer about the object", [3]http.HandlerFunc{notFound, lease, lease}, apierrors.IsNotFound, [3]int{1, 0, 0}},
		{"a conflict", [3]http.HandlerFunc{conflict, lease, lease}, apierrors.IsConflict, [3]int{1, 0, 0}},
		{"committed and slow to say so", [3]http.HandlerFunc{later(slow, lease), conflict, lease}, nil, [3]int{1, 1, 0}},
		{"committed and never said", [3]http.HandlerFunc{hang, conflict, lease}, apierrors.IsConflict, [3]int{1, 1, 0}},
		{"committed and hung up", [3]http.HandlerFunc{hangUp, conflict, lease}, apierrors.IsConflict, [3]int{1, 1, 0}},
		{"none", [3]http.HandlerFunc{hangUp, broken, hangUp}, apierrors.IsInternalError, [3]int{1, 1, 1}},
		{"all hang", [3]http.HandlerFunc{hang, hang, hang}, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }, [3]int{1, 1, 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, s := cluster(t, hedge)
			for i, h := range tt.servers {
				s[i].set(h)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 4*hedge)
			defer cancel()
			err := c.Do(ctx, get)
			if tt.is == nil && err != nil || tt.is != nil && !tt.is(err) {
				t.Errorf("error = %v", err)
			}
			diff(t, "asked", tt.asked, counts(s))
		})
	}
}

// TestPrefer: the caller sets the order, which applies from the next call on.
func TestPrefer(t *testing.T) {
	c, s := cluster(t, 0)
	must(t, do(t, c, get))
	c.Prefer([]string{s[2].addr(), s[0].addr()})
	must(t, do(t, c, get))
	c.Prefer(nil) // nothing is known: the order stays
	must(t, do(t, c, get))
	diff(t, "asked", [3]int{1, 0, 2}, counts(s))
}

// TestStream: a stream follows the first server, and begins with the next one after a failure.
func TestStream(t *testing.T) {
	c, s := cluster(t, 0)
	s[0].set(hangUp)
	began := make(chan error, 1)
	stream := func() (end func(context.Context, coordinationv1client.CoordinationV1Interface) error) {
		return func(ctx context.Context, api coordinationv1client.CoordinationV1Interface) error {
			err := get(ctx, api)
			began <- err
			if err == nil {
				<-ctx.Done()
			}
			return err
		}
	}
	if err := c.Stream(t.Context(), stream()); err == nil || <-began == nil {
		t.Fatalf("error = %v", err)
	}
	var ended atomic.Bool
	var running sync.WaitGroup
	running.Go(func() { _ = c.Stream(t.Context(), stream()); ended.Store(true) })
	must(t, <-began)
	diff(t, "asked", [3]int{1, 1, 0}, counts(s))
	c.Prefer([]string{s[1].addr(), s[0].addr(), s[2].addr()}) // the stream is at the first server of this order
	if ended.Load() {
		t.Error("ended, and its server is the first")
	}
	c.Prefer([]string{s[2].addr(), s[1].addr()})
	running.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	running.Go(func() { _ = c.Stream(ctx, stream()) })
	must(t, <-began)
	diff(t, "asked", [3]int{0, 0, 1}, counts(s))
	cancel()
	running.Wait()
}

// TestBroken: the end of a connection is reported, whether idle or in use, and whether the server
// announces the end or not.
func TestBroken(t *testing.T) {
	s := newServer(t)
	path := s.write(t, filepath.Join(t.TempDir(), "admin.conf"), "me", nil)
	broken := make(chan string, 100)
	c := New(Options{Server: s.addr(), Kubeconfigs: []string{path}, Observe: func(e Event) {
		if d, ok := e.(Disconnected); ok {
			broken <- d.Server
		}
	}})
	must(t, do(t, c, get))
	must(t, do(t, c, get))
	if len(broken) > 0 {
		t.Error("told of a connection that goes on")
	}
	s.CloseClientConnections()
	diff(t, "server", s.addr(), <-broken)
	s.set(hangUp)
	_ = do(t, c, get)
	diff(t, "server", s.addr(), <-broken)
}

func TestReadyz(t *testing.T) {
	s := newServer(t)
	path := s.write(t, filepath.Join(t.TempDir(), "admin.conf"), "me", nil)
	c := New(Options{Server: s.addr(), Kubeconfigs: []string{path}})
	s.set(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" || user(r) != "me" {
			t.Errorf("%s asked for %s", user(r), r.URL)
		}
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, "[-]etcd failed: reason withheld\n"+strings.Repeat("x", 2*maxReadyz))
	})
	status, body, known, err := c.Readyz(t.Context(), s.addr())
	if status != 500 || !known || err != nil || len(body) != maxReadyz || !strings.HasPrefix(body, "[-]etcd") {
		t.Errorf("Readyz = %d, %d bytes, %t, %v", status, len(body), known, err)
	}
	c = New(Options{Server: s.addr(), Kubeconfigs: []string{path + ".missing"}})
	if _, _, known, err := c.Readyz(t.Context(), s.addr()); known || err == nil {
		t.Errorf("without credentials: known = %t, %v", known, err)
	}
}

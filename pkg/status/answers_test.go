package status

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func get(t *testing.T, s *Server, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

func TestDocuments(t *testing.T) {
	c := &clock{since: time.Hour}
	b := newTestBoard(c)
	b.Tell(well(c))
	b.Add(Change{Kind: Taken, Cause: "<n2> released the lease"})
	s := New(Options{Board: b})
	var st Status
	w := get(t, s, "/status")
	if err := json.Unmarshal(w.Body.Bytes(), &st); err != nil || st.Lease.Term != 7 || w.Header().Get("Content-Type") != "application/json" ||
		w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("status: %v, %v, %s", err, w.Header(), w.Body)
	}
	w = get(t, s, "/history")
	if !strings.Contains(w.Body.String(), `"cause": "<n2> released the lease"`) || !strings.Contains(w.Body.String(), `"phases": []`) {
		t.Errorf("history: %s", w.Body)
	}
	if w := get(t, New(Options{}), "/status"); w.Code != http.StatusNotFound {
		t.Errorf("without a board: %d", w.Code)
	}
}

// stream reads views from /events.
type stream struct {
	t    *testing.T
	body *bufio.Scanner
}

func (s stream) next() View {
	s.t.Helper()
	for s.body.Scan() {
		if data, ok := strings.CutPrefix(s.body.Text(), "data: "); ok {
			var v View
			if err := json.Unmarshal([]byte(data), &v); err != nil {
				s.t.Fatal(err)
			}
			return v
		}
	}
	s.t.Fatalf("the stream ended: %v", s.body.Err())
	return View{}
}

// TestEvents: the present view at once, the next after a change, for longer than
// what bounds other requests, and to so many readers.
func TestEvents(t *testing.T) {
	b := NewBoard(BoardOptions{Node: "n1"})
	s := New(Options{Board: b})
	server := httptest.NewUnstartedServer(s.Handler())
	server.Config.ReadTimeout, server.Config.WriteTimeout = 50*time.Millisecond, 50*time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	server.Start()
	defer server.Close()
	defer cancel() // first, as Close waits for them
	open := func() (int, io.Reader) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp.StatusCode, resp.Body
	}
	_, body := open()
	first := stream{t, bufio.NewScanner(body)}
	first.body.Buffer(nil, 1<<20)
	if v := first.next(); v.Status.Lease.Term != 0 {
		t.Errorf("at first: %+v", v)
	}
	for term := 1; term < 4; term++ {
		b.Tell(func(f *Facts) { f.Lease.Term = term })
		for v := first.next(); v.Status.Lease.Term != term; v = first.next() {
			if ctx.Err() != nil {
				t.Fatal("not told of a change")
			}
		}
	}
	for range maxStreams - 1 {
		if code, _ := open(); code != http.StatusOK {
			t.Errorf("refused: %d", code)
		}
	}
	if code, _ := open(); code != http.StatusServiceUnavailable {
		t.Errorf("one too many: %d", code)
	}
}

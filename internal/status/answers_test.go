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
	b.Update(healthy(c))
	b.Add(Change{Kind: Taken, Cause: "<n2> released the lease"})
	s := New(Options{Boards: []*Board{b}})
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

// TestGroups: each group of addresses has documents of its own, named by its address, and a scrape
// has the series of all.
func TestGroups(t *testing.T) {
	c := &clock{since: time.Hour}
	first, second := newTestBoard(c), NewBoard(BoardOptions{Node: "n1", VIPs: []VIP{{Address: "192.168.35.101", Port: 6443}}, Now: c.now, Wall: c.wall})
	first.Update(healthy(c))
	second.Update(func(f *Facts) { healthy(c)(f); f.State, f.Lease.Term = "standby", 9 })
	m := NewMetrics(first, second)
	s := New(Options{Boards: []*Board{first, second}, Metrics: m})
	for query, term := range map[string]int{"": 7, "?vip=192.168.35.100": 7, "?vip=192.168.35.101": 9} {
		var st Status
		if w := get(t, s, "/status"+query); json.Unmarshal(w.Body.Bytes(), &st) != nil || st.Lease.Term != term {
			t.Errorf("%q: want term %d: %d, %s", query, term, w.Code, w.Body)
		}
	}
	if w := get(t, s, "/status?vip=192.168.35.102"); w.Code != http.StatusNotFound {
		t.Errorf("a VIP of nobody: %d", w.Code)
	}
	text := string(scrape(t, m))
	for _, want := range []string{`vipd_holding{vip="192.168.35.100"} 1`, `vipd_holding{vip="192.168.35.101"} 0`, "vipd_lease_term 7\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("the scrape has no %q", want)
		}
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

// TestEvents: a reader gets the current view at once and the next one after a change, the stream
// outlasts the timeouts of other requests, and the number of readers is limited.
func TestEvents(t *testing.T) {
	b := NewBoard(BoardOptions{Node: "n1"})
	s := New(Options{Boards: []*Board{b}})
	server := httptest.NewUnstartedServer(s.Handler())
	server.Config.ReadTimeout, server.Config.WriteTimeout = 50*time.Millisecond, 50*time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	server.Start()
	defer server.Close()
	defer cancel() // first: Close waits for the streams
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
		b.Update(func(f *Facts) { f.Lease.Term = term })
		for v := first.next(); v.Status.Lease.Term != term; v = first.next() {
			if ctx.Err() != nil {
				t.Fatal("no event for a change")
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

package status

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

const (
	// maxStreams is how many may read /events at once.
	maxStreams = 8
	// A reader of /events gets news no more often than every streamPause, and
	// something at least every streamBeat, for what time alone changes.
	streamPause, streamBeat = 100 * time.Millisecond, time.Second
	// streamTimeout is how long one write to it may take.
	streamTimeout = 5 * time.Second
)

// Handler is what it answers with.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", answer(s.opts.Live))
	mux.HandleFunc("GET /readyz", answer(s.opts.Ready))
	if b := s.opts.Board; b != nil {
		mux.HandleFunc("GET /status", document(func() any { return b.Status() }))
		mux.HandleFunc("GET /history", document(func() any { _, h := b.Documents(); return h }))
		mux.HandleFunc("GET /events", s.events)
		mux.HandleFunc("GET /{$}", s.page)
	}
	if s.opts.Metrics != nil {
		mux.Handle("GET /metrics", s.opts.Metrics.Handler())
	}
	return guarded(mux)
}

// guarded sets what holds for every answer.
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// answer lists the checks as an API server does: [+] for what is well.
func answer(checks []Check) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
		defer cancel()
		var body strings.Builder
		status := http.StatusOK
		for _, c := range checks {
			if err := c.Ask(ctx); err != nil {
				status = http.StatusServiceUnavailable
				fmt.Fprintf(&body, "[-]%s: %v\n", c.Name, err)
			} else {
				fmt.Fprintf(&body, "[+]%s ok\n", c.Name)
			}
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body.String()))
	}
}

// document answers with JSON for programs that people can read, too.
func document(of func() any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		var body bytes.Buffer
		e := json.NewEncoder(&body)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		if err := e.Encode(of()); err != nil { // the types have nothing that could fail
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body.Bytes())
	}
}

// View is what /events sends, and what the page is made of.
type View struct {
	Status  Status  `json:"status"`
	History History `json:"history"`
}

func (s *Server) view() View {
	status, history := s.opts.Board.Documents()
	return View{status, history}
}

// events sends a View at once and after each change, as server-sent events (HTML
// Living Standard, section 9.2).
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		http.Error(w, fmt.Sprintf("%d readers are the most there may be", maxStreams), http.StatusServiceUnavailable)
		return
	}
	// Else what bounds the sending of a request would end the reading of the answer.
	if err := http.NewResponseController(w).SetReadDeadline(time.Time{}); err != nil {
		http.Error(w, "no stream over this connection", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	beat := time.NewTicker(streamBeat)
	defer beat.Stop()
	for {
		changed := s.opts.Board.Changed()
		if err := s.send(w); err != nil {
			return // the reader has gone
		}
		select {
		case <-r.Context().Done():
			return
		case <-time.After(streamPause):
		}
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		case <-beat.C:
		}
	}
}

func (s *Server) send(w http.ResponseWriter) error {
	body, err := json.Marshal(s.view())
	if err != nil {
		return err
	}
	c := http.NewResponseController(w)
	//nolint:forbidigo // net/http's deadlines are times of day
	if err := c.SetWriteDeadline(time.Now().Add(streamTimeout)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "event: view\ndata: %s\n\n", body); err != nil {
		return err
	}
	return c.Flush()
}

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
	// maxStreams bounds the concurrent readers of /events.
	maxStreams = 8
	// A reader of /events gets a view after a change, but at most one per streamPause, and at least
	// one per streamBeat, because some values change with time only.
	streamPause, streamBeat = 100 * time.Millisecond, time.Second
	// streamTimeout bounds one write to a reader.
	streamTimeout = 5 * time.Second
)

// Handler returns the handler of all paths.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", answer(s.opts.Live))
	mux.HandleFunc("GET /readyz", answer(s.opts.Ready))
	if len(s.opts.Boards) > 0 {
		mux.HandleFunc("GET /status", s.of(document(func(b *Board) any { return b.Status() })))
		mux.HandleFunc("GET /history", s.of(document(func(b *Board) any { _, h := b.Documents(); return h })))
		mux.HandleFunc("GET /events", s.of(s.events))
		mux.HandleFunc("GET /{$}", s.of(page))
	}
	if s.opts.Metrics != nil {
		mux.Handle("GET /metrics", s.opts.Metrics.Handler())
	}
	return guarded(mux)
}

// of answers for the group of addresses that the query names (?vip=ADDRESS), or for the first group
// without that query.
func (s *Server) of(answer func(http.ResponseWriter, *http.Request, *Board)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		vip := r.URL.Query().Get("vip")
		for _, b := range s.opts.Boards {
			if vip == "" || b.has(vip) {
				answer(w, r, b)
				return
			}
		}
		http.Error(w, "this vipd has no such VIP", http.StatusNotFound)
	}
}

// guarded sets the headers of every answer.
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// answer lists the checks in the format of an API server: [+] for a check that passes, [-] for one
// that fails.
func answer(checks []Check) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
		defer cancel()
		var body strings.Builder
		code := http.StatusOK
		for _, c := range checks {
			if err := c.Ask(ctx); err != nil {
				code = http.StatusServiceUnavailable
				fmt.Fprintf(&body, "[-]%s: %v\n", c.Name, err)
			} else {
				fmt.Fprintf(&body, "[+]%s ok\n", c.Name)
			}
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body.String()))
	}
}

// document answers with JSON, indented for people.
func document(of func(*Board) any) func(http.ResponseWriter, *http.Request, *Board) {
	return func(w http.ResponseWriter, _ *http.Request, b *Board) {
		var body bytes.Buffer
		e := json.NewEncoder(&body)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		if err := e.Encode(of(b)); err != nil { // the types cannot fail to encode
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body.Bytes())
	}
}

// View is the data of an event of /events, and of the page.
type View struct {
	Status  Status  `json:"status"`
	History History `json:"history"`
}

func viewOf(b *Board) View {
	status, history := b.Documents()
	return View{status, history}
}

// events sends a View at once and after each change, as server-sent events (HTML Living Standard,
// section 9.2).
func (s *Server) events(w http.ResponseWriter, r *http.Request, b *Board) {
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		http.Error(w, fmt.Sprintf("too many readers, the limit is %d", maxStreams), http.StatusServiceUnavailable)
		return
	}
	// The deadline for reading the request would otherwise end the stream.
	if err := http.NewResponseController(w).SetReadDeadline(time.Time{}); err != nil {
		http.Error(w, "no stream over this connection", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	beat := time.NewTicker(streamBeat)
	defer beat.Stop()
	for {
		changed := b.Changed()
		if err := send(w, viewOf(b)); err != nil {
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

func send(w http.ResponseWriter, v View) error {
	body, err := json.Marshal(v)
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

package observe

import (
	"context"
	"crypto/tls"
	"io"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
)

// Idle is a client that sent one request and then waits on the connection, like a client that
// expects events: it sends nothing, and so notices the move of the VIP only if its connection is
// ended. Then it reconnects at once.
type Idle struct{ https *HTTPS }

// NewIdle returns an idle client of the same target as h.
func NewIdle(h *HTTPS) *Idle { return &Idle{https: h} }

// Run stays connected until ctx ends. It connects before ready, so that a fault of the VIP affects
// its connection.
func (i *Idle) Run(ctx context.Context, to *record.Recorder, ready func()) error {
	conn := i.attempt(ctx)
	ready()
	if conn == nil {
		conn = i.connect(ctx)
	}
	for conn != nil && waitClosed(ctx, conn) {
		r := record.Reconnect{Noticed: record.Now()}
		if conn = i.connect(ctx); conn != nil {
			r.Done = record.Now()
		}
		to.Reconnect(r)
	}
	return nil
}

// connect retries until it gets an answer; the result is nil if ctx ends before. It makes at most
// one attempt per interval, even if attempts fail at once, to leave the processor to what it
// observes.
func (i *Idle) connect(ctx context.Context) *tls.Conn {
	ticker := time.NewTicker(record.RequestInterval)
	defer ticker.Stop()
	for {
		if conn := i.attempt(ctx); conn != nil {
			return conn
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// attempt connects and sends one request; the result is nil if either fails.
func (i *Idle) attempt(ctx context.Context) *tls.Conn {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	conn, err := i.https.connect(ctx)
	if err != nil {
		return nil
	}
	err = i.https.ask(conn, "")
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		conn.NetConn().Close()
		return nil
	}
	return conn
}

// waitClosed waits for the end of the connection, or of ctx, and tells whether the connection
// ended.
func waitClosed(ctx context.Context, conn *tls.Conn) bool {
	defer conn.NetConn().Close()
	// A deadline in the past ends a blocked read.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(0, 1)) })
	defer stop()
	_, _ = io.Copy(io.Discard, conn) // how the connection ended does not matter
	return ctx.Err() == nil
}

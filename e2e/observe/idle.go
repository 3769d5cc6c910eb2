package observe

import (
	"context"
	"crypto/tls"
	"io"
	"time"

	"github.com/vipd-io/vipd/e2e/record"
)

// Idle is a client that made one request and then waits on the connection, as
// one does that expects events: it sends nothing, and so finds out that the VIP
// has left only if somebody ends the connection. Then it connects anew at once.
type Idle struct{ https *HTTPS }

// NewIdle makes an idle client of the same target as h.
func NewIdle(h *HTTPS) *Idle { return &Idle{https: h} }

// Run stays connected. Its first attempt comes before ready, so that what
// happens to a VIP that is there happens to its connection.
func (i *Idle) Run(ctx context.Context, to *record.Recorder, ready func()) error {
	conn := i.attempt(ctx)
	ready()
	if conn == nil {
		conn = i.connect(ctx)
	}
	for conn != nil && lie(ctx, conn) {
		r := record.Reconnect{Noticed: record.Now()}
		if conn = i.connect(ctx); conn != nil {
			r.Done = record.Now()
		}
		to.Reconnect(r)
	}
	return nil
}

// connect tries until it has an answer, nil if ctx ends before. An attempt that
// is refused at once takes its turn of the interval, as this client is not to
// take the processor from those that it observes.
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

// attempt connects and makes one request, nil if either fails.
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

// lie waits for the end of the connection, or of ctx, and tells whether it was
// the connection's.
func lie(ctx context.Context, conn *tls.Conn) bool {
	defer conn.NetConn().Close()
	// A deadline in the past ends a read that waits.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(0, 1)) })
	defer stop()
	_, _ = io.Copy(io.Discard, conn) // the error says how it ended, which is all the same
	return ctx.Err() == nil
}
